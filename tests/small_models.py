"""Small transformers folders with random weights and a tokenizer of a few words, for tests of what is loaded."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from prh.experiment.schema import LanguageModel

WORDS = [
    *["<s>", "<unk>", "a", "the", "dog", "cat", "runs", "sleeps", "on", "green", "hill", "by", "sea", "two", "birds"],
    *["sing", "in", "one", "tree", "."],
]
TEXTS = ["a cat sleeps", "the dog runs on the green hill by the sea .", "two birds sing in one tree", "a dog"]
SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.2,
}


def tokenizer(words=WORDS, bos: bool = True):
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", unk_token="<unk>")


def model_folder(folder: Path, family: str, kind: str = "AutoModel", seed: int = 0, words=WORDS, **settings) -> Path:
    """A model of ``family`` saved with a tokenizer; ``kind`` is the class of transformers that builds it."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(family, **(SMALL | settings))
    getattr(transformers, kind).from_config(config).eval().save_pretrained(folder)
    tokenizer(words).save_pretrained(folder)
    return folder


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]], **config) -> Path:
    """The folder with its weights changed by ``change`` and its config by ``config``."""
    path = folder / "model.safetensors"
    weights = {name: value.clone().contiguous() for name, value in change(load_file(path)).items()}
    save_file(weights, path, metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | config))
    return folder


def entry(folder: Path, **changes) -> LanguageModel:
    """The entry of a language model, as a program gets it."""
    settings = {"name": "m", "modality": "language", "source": "local", "path": str(folder)}
    return LanguageModel(**(settings | changes))
