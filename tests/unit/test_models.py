import pytest

from prh.models import repositories
from prh.models.repositories import ModelError


@pytest.mark.parametrize(("identity", "repository"), [("vit_base_patch14_dinov2.lvd142m", "timm/vit_base_patch14_dinov2.lvd142m"),
                                                      ("hf-hub:me/mine", "me/mine"), ("me/mine", "me/mine")])  # fmt: skip
def test_repositories_of_timm_names(identity, repository):
    assert repositories.hub_repository("timm", identity) == repository


def test_a_timm_name_without_weights_is_an_error():
    with pytest.raises(ModelError, match=r"timm has no weights on the hub for 'nosuchmodel'"):
        repositories.hub_repository("timm", "nosuchmodel")


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
    found = repositories.needed_files(names)
    assert set(found) == needed
    assert len(found) == len(needed)


def test_a_repository_without_weights_is_an_error():
    with pytest.raises(
        ModelError, match=r"no weights that can be loaded; it has README\.md, model\.safetensors\.index\.json"
    ):
        repositories.needed_files(["model.safetensors.index.json", "README.md", "onnx/model.safetensors"])
