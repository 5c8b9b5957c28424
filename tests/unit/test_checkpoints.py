"""A checkpoint of others is read whole or refused: weights that are missing or misplaced would give features all the same."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from prh import modalities
from prh.models import architectures, checkpoints
from prh.models.repositories import ModelError


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=0)


@pytest.fixture
def moco(resnet, tmp_path):
    """A file as MoCo writes it: two encoders with heads, a queue, an optimiser."""
    weights = {f"module.encoder_q.{name}": value for name, value in resnet.state_dict().items()}
    weights |= {name.replace("_q.", "_k."): value + 1 for name, value in weights.items()}
    weights |= {"module.encoder_q.fc.0.weight": torch.ones(2, 2), "module.queue": torch.ones(3)}
    path = tmp_path / "checkpoint_0199.pth.tar"
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": weights, "optimizer": {"state": {}}}, path)
    return path


MOCO = {"state": "state_dict", "prefix": "module.encoder_q.", "drop": r"fc\..*"}


def filled(path, **settings):
    model = timm.create_model("test_resnet", num_classes=0)
    checkpoints.fill(model, path, **settings)
    return model.state_dict()


def test_the_encoder_of_queries_is_taken_from_a_file_of_moco(moco, resnet):
    for name, value in filled(moco, **MOCO).items():
        torch.testing.assert_close(value, resnet.state_dict()[name])


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_file_that_is_the_weights(ending, resnet, tmp_path):
    path = tmp_path / f"weights.{ending}"
    (torch.save if ending == "pth" else save_file)(resnet.state_dict(), path)
    torch.testing.assert_close(filled(path), resnet.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"state": None},
            r"is not a mapping of names to tensors \(its keys are arch, epoch, optimizer, state_dict\); set",
        ),
        ({"state": "model"}, "no weights under checkpoint.state 'model'; its keys are arch, epoch"),
        ({"state": "epoch"}, "no weights under checkpoint.state 'epoch'"),
        ({"state": "optimizer"}, "is not a mapping of names to tensors"),
        ({"prefix": "encoder."}, "no weight whose name begins with 'encoder.' .*; it has module.encoder_k.bn1.bias"),
        ({"drop": None}, "does not fit ResNet: it also has fc.0.weight; see 'checkpoint'"),
        ({"drop": r"(fc|conv1)\..*"}, r"does not fit ResNet: it lacks conv1\."),
        ({"drop": r"(fc|bn1|layer1)\..*"}, r"it lacks bn1\.bias, bn1\..* and \d+ more; see"),
    ],
)
def test_wrong_settings_are_one_sentence(moco, changes, message):
    with pytest.raises(ModelError, match=message):
        filled(moco, **(MOCO | changes))


def test_another_shape_is_named(resnet, tmp_path):
    weights = {name: value[:1] if name == "bn1.weight" else value for name, value in resnet.state_dict().items()}
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"it has the wrong shape for bn1\.weight;"):
        filled(tmp_path / "w.pth")


def test_checkpoints_of_torchvision_resnets_have_the_names_of_timm():
    """Which MoCo, SwAV, DINO, Barlow Twins and VICReg rely on."""
    import torchvision

    with torch.device("meta"):
        theirs = torchvision.models.resnet50().state_dict()
        ours = timm.create_model("resnet50.tv_in1k", num_classes=0).state_dict()
    shapes = {name: value.shape for name, value in theirs.items() if not name.startswith("fc.")}
    assert {name: value.shape for name, value in ours.items()} == shapes


class Code:
    """What a pickled model brings along."""


def test_a_file_with_code_in_it_is_not_opened(tmp_path):
    torch.save({"model": Code()}, tmp_path / "w.pth")
    with pytest.raises(
        ModelError, match="holds more than weights, or is damaged, and is not opened because that could run"
    ):
        filled(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_truncated_file_is_named(resnet, tmp_path, name):
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(resnet.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ModelError, match=rf"{name} is not a whole (safetensors|PyTorch) file"):
        filled(path)


def entry(**changes):
    return {"name": "m", "modality": "vision", **changes}


def test_an_entry_of_the_web_is_loaded(moco, resnet):
    keys = {"source": "url", "url": "https://host/moco.pth", "id": "test_resnet"}
    encoder = modalities.load(entry(**keys, model_args={"num_classes": 0}, checkpoint=MOCO), moco)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = resnet.eval().forward_features(images).mean((2, 3))
    torch.testing.assert_close(encoder.encode(images)[-1], expected)


# The names and shapes of the published encoder.pth files, as the code of Baradad et al. 2021 lays them out.
ALEXNET = {
    **{f"blocks.{i}.0.weight": (out, wide, 3, 3) for i, (wide, out) in enumerate([(3, 96), (96, 192), (192, 384), (384, 384), (384, 192)])},
    **{f"blocks.{i}.1.{part}": (out,) for i, out in enumerate([96, 192, 384, 384, 192]) for part in ("weight", "bias", "running_mean", "running_var")},
    **{f"blocks.{i}.1.num_batches_tracked": () for i in range(5)},
    "blocks.5.1.weight": (4096, 9408), "blocks.6.0.weight": (4096, 4096), "blocks.7.0.weight": (128, 4096), "blocks.7.0.bias": (128,),
    **{f"blocks.{place}.{part}": (4096,) for place in ("5.2", "6.1") for part in ("weight", "bias", "running_mean", "running_var")},
    **{f"blocks.{place}.num_batches_tracked": () for place in ("5.2", "6.1")},
}  # fmt: skip


def test_the_small_alexnet_has_the_names_of_its_published_weights():
    with torch.device("meta"):
        model = architectures.SmallAlexNet()
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == ALEXNET


def test_the_layers_of_the_small_alexnet_are_its_blocks():
    encoder = modalities.load(entry(id="small_alexnet.align_uniform", source="random", layers=r"blocks\.\d"), None)
    images = torch.rand(2, 3, 64, 64)
    layers = encoder.encode(images)
    assert [layer.shape[1] for layer in layers] == [96, 192, 384, 384, 192, 4096, 4096, 128]
    with torch.inference_mode():
        projected = encoder.module(images)
    torch.testing.assert_close(torch.nn.functional.normalize(layers[-1], dim=1), projected)
    assert "size=70" in str(encoder.transform)
    assert "size=(64, 64)" in str(encoder.transform)


def test_real_weights_in_a_file_give_the_features_of_their_folder(real):
    folder = real / "weights/vision/mobilenet_v1_0.25_128"
    told = json.loads((folder / "config.json").read_text())["model_args"]
    whole = modalities.load(entry(source="local", path=str(folder)), folder)
    file = folder / "model.safetensors"
    filed = modalities.load(entry(source="local", id="lcnet_050", path=str(file), model_args=told), file)
    images = torch.rand(2, 3, 128, 128)
    torch.testing.assert_close(filed.encode(images), whole.encode(images))
