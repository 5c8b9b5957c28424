import importlib
import inspect
from pathlib import Path

import pytest
import transformers
from transformers import PreTrainedTokenizerBase

from prh import models
from prh.models import ModelError


@pytest.mark.parametrize(("identity", "repository"), [("vit_base_patch14_dinov2.lvd142m", "timm/vit_base_patch14_dinov2.lvd142m"),
                                                      ("hf-hub:me/mine", "me/mine"), ("me/mine", "me/mine")])  # fmt: skip
def test_repositories_of_timm_names(identity, repository):
    assert models.hub_repository("timm", identity) == repository


def test_a_timm_name_without_weights_is_an_error():
    with pytest.raises(ModelError, match=r"timm has no weights on the hub for 'nosuchmodel'"):
        models.hub_repository("timm", "nosuchmodel")


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        ({"config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "README.md"},
         {"config.json", "model.safetensors"}),
        ({"config.json", "tokenizer.model", "merges.txt", "model-00001-of-00002.safetensors",
          "model-00002-of-00002.safetensors", "model.safetensors.index.json", "consolidated.safetensors",
          "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "original/params.json",
          "original/consolidated.00.pth", "onnx/model.onnx", "onnx/config.json", "model.gguf"},
         {"config.json", "tokenizer.model", "merges.txt", "model-00001-of-00002.safetensors",
          "model-00002-of-00002.safetensors", "model.safetensors.index.json"}),
        ({"config.json", "model.safetensors", "model.fp16.safetensors", "open_clip_model.safetensors"},
         {"config.json", "model.safetensors"}),
        ({"config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"},
         {"config.json", "open_clip_model.safetensors"}),
        ({"config.json", "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "training_args.bin"},
         {"config.json", "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"}),
        ({"config.json", "pytorch_model.bin", "training_args.bin", "modeling_mine.py"},
         {"config.json", "pytorch_model.bin", "modeling_mine.py"}),
        ({"vectors.safetensors", "vocab.txt"}, {"vectors.safetensors", "vocab.txt"}),
        ({"config.json", "checkpoint.pth"}, {"config.json", "checkpoint.pth"}),
    ],
)  # fmt: skip
def test_the_files_needed_of_a_repository(names, needed):
    found = models.needed_files(names)
    assert set(found) == needed
    assert len(found) == len(needed)


def test_a_repository_without_weights_is_an_error():
    with pytest.raises(
        ModelError, match=r"no weights that can be loaded; it has README\.md, model\.safetensors\.index\.json"
    ):
        models.needed_files(["model.safetensors.index.json", "README.md", "onnx/model.safetensors"])


def tokenizer_classes():
    """Every tokenizer class of transformers whose packages are here."""
    for path in sorted((Path(transformers.__file__).parent / "models").glob("*/tokenization_*.py")):
        name = f"transformers.models.{path.parent.name}.{path.stem}"
        try:
            module = importlib.import_module(name)
        except (ImportError, NameError):  # a package that we do not have, such as pretty_midi
            continue
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, PreTrainedTokenizerBase) and kind.__module__ == name:
                yield kind


def test_the_files_of_every_tokenizer_class_are_needed():
    classes = list(tokenizer_classes())
    names = {name for kind in classes for name in kind.vocab_files_names.values()}
    assert len(classes) > 100
    assert {"bpe.codes", "source.spm", "spm_char.model", "prophetnet.tokenizer", "vocab-src.json"} <= names
    needed = models.needed_files([*names, "model.safetensors"])
    assert sorted(names - set(needed)) == []


def test_the_files_of_configurations_processors_and_old_tokenizers_are_needed():
    from transformers import tokenization_utils_base, utils

    constants = {**vars(utils), **vars(tokenization_utils_base)}
    told = {
        value
        for key, value in constants.items()
        if key.endswith(("_NAME", "_FILE")) and isinstance(value, str) and value.endswith((".json", ".jinja"))
    }
    assert {"preprocessor_config.json", "processor_config.json", "chat_template.jinja", "added_tokens.json"} <= told
    older = {"vocab.bpe", "dict.txt", "tiktoken.model", "qwen.tiktoken", "tekken.json", "tokenization_mine.py"}
    wanted = {name for name in told | older if not name.endswith(".index.json")}
    assert sorted(wanted - set(models.needed_files([*wanted, "model.safetensors"]))) == []


@pytest.mark.parametrize(
    ("wanted", "fast", "there", "missing"),
    [
        ({"vocab_file": "vocab.json", "merges_file": "merges.txt"}, True, ["vocab.json"], ["merges.txt"]),
        ({"vocab_file": "vocab.json", "merges_file": "merges.txt"}, True, ["tokenizer.json"], []),
        ({"vocab_file": "vocab.json", "merges_file": "merges.txt"}, False, ["tokenizer.json"], ["vocab.json", "merges.txt"]),
        ({"tokenizer_file": "tokenizer.json"}, True, [], ["tokenizer.json"]),
        ({"tokenizer_file": "tokenizer.json"}, True, ["tokenizer.model"], []),
        ({"tokenizer_file": "tokenizer.json", "vocab_file": "tokenizer.model"}, True, ["qwen.tiktoken"], []),
        ({"tokenizer_file": "tokenizer.json", "vocab_file": "tokenizer.model"}, True, ["config.json"], ["tokenizer.model"]),
        ({"vocab_file": "vocab.txt", "spm_file": "spiece.model"}, False, ["vocab.txt"], []),
        ({"vocab_file": "vocab.json", "spm_file": "sentencepiece.bpe.model", "tokenizer_config_file": "tokenizer_config.json"},
         False, ["vocab.json"], ["sentencepiece.bpe.model"]),
        ({}, False, [], []),
    ],
)  # fmt: skip
def test_missing_tokenizer_files(wanted, fast, there, missing):
    assert models.missing_tokenizer_files(there, wanted, fast=fast) == missing
