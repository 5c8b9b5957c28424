"""Folding batch normalisations must change no feature, and nothing where it would."""

import pytest
import timm
import torch
from torch import nn

from prh import modalities
from prh.modalities import vision
from prh.models import blocks
from prh.models.folding import fold_norms
from prh.models.pooling import Layout
from tests.unit.test_encoders import entry


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]


def with_random_statistics(model):
    """As after training: fresh norms have mean 0 and variance 1, and would hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.3, generator=generator)
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 2, generator=generator)
    return model.eval()


# a plain net, an inverted one with activating norms, squeeze-excite, TensorFlow's padding, and branches that are added
@pytest.mark.parametrize(
    ("name", "left"),
    [("resnet18", 0), ("mobilenetv2_100", 0), ("regnety_002", 0), ("tf_efficientnet_b0", 0), ("repvgg_a0", 17)],
)
def test_layers_stay_the_same(name, left):
    torch.manual_seed(0)  # a few draws of deep nets let rounding grow so much that nothing is folded
    model = with_random_statistics(timm.create_model(name))
    layers = [layer for layer, _ in blocks.find_layers(model)]
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    folded = fold_norms(model, image, layers)
    assert len(norms(folded)) == left < len(norms(model))
    for one, other in zip(*(encoder(m).encode(image) for m in (model, folded)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def encoder(model):
    maps = [Layout(places=(2, 3), width=1)] * len(blocks.find_layers(model))
    return vision.VisionEncoder(model, None, maps)


def test_without_norms_the_model_itself_is_taken():
    model = timm.create_model("test_vit").eval()
    assert fold_norms(model, torch.randn(1, 3, 160, 160)) is model


def test_a_wanted_layer_stays_what_it_is():
    torch.manual_seed(0)
    model = with_random_statistics(timm.create_model("resnet18"))
    folded = fold_norms(model, torch.randn(1, 3, 64, 64), ["layer1.0.bn1", "layer2.0.conv1"])
    assert norms(folded) == ["layer1.0.bn1", "layer2.0.bn1"]


def test_what_else_a_norm_does_keeps_its_name():
    torch.manual_seed(0)
    model = with_random_statistics(timm.create_model("mobilenetv2_100"))
    layers = [name for name, _ in model.named_modules() if name.endswith("bn1.act")]
    folded = fold_norms(model, torch.randn(1, 3, 64, 64), layers)
    assert norms(folded) == []
    assert [name for name, _ in folded.named_modules() if name.endswith("bn1.act")] == layers


class ReadTwice(nn.Module):
    """The output of the convolution is normalised, and also added as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return self.bn(x) + x


class UsedTwice(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.other(self.conv(self.one(self.conv(x))))


@pytest.mark.parametrize("kind", [ReadTwice, UsedTwice])
def test_what_cannot_be_folded_is_left_alone(kind):
    torch.manual_seed(0)
    model = with_random_statistics(kind())
    assert fold_norms(model, torch.randn(1, 3, 8, 8)) is model


def test_an_encoder_is_folded_and_counts_the_parameters_of_its_model():
    loaded = modalities.load(entry(id="test_resnet"), None)
    assert norms(loaded.module) == []
    assert loaded.parameters == sum(p.numel() for p in timm.create_model("test_resnet").parameters())
