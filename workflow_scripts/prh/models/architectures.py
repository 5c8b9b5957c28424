"""Architectures of published checkpoints that timm does not have, under the names of its registry once imported."""

from __future__ import annotations

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

__all__ = ["SmallAlexNet"]


class SmallAlexNet(nn.Module):
    """The AlexNet for images of 64 pixels whose encoders were published by Baradad et al. 2021 (arXiv 2106.05963).

    Five convolutions of 3x3 and three linear maps, each with batch normalisation and ReLU; the last one is the
    projection that the loss of Wang & Isola 2020 saw, on the unit sphere. The names of its weights are those of the
    published files (``blocks.0.0.weight`` ...); the output of ``blocks.i`` is a map (i < 5) or a vector.
    """

    def __init__(self, in_chans: int = 3, num_classes: int = 128) -> None:
        super().__init__()
        widths = (in_chans, 96, 192, 384, 384, 192)
        pooled = (True, True, False, False, True)
        convolutions = [
            nn.Sequential(
                nn.Conv2d(wide, out, 3, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(inplace=True),
                *([nn.MaxPool2d(3, 2)] if pool else []),
            )
            for wide, out, pool in zip(widths[:-1], widths[1:], pooled, strict=True)
        ]
        # the first of these blocks begins with a module without weights, as in the files: its linear map is number 1
        first = nn.Sequential(nn.Flatten(), nn.Linear(192 * 7 * 7, 4096, bias=False), nn.BatchNorm1d(4096), nn.ReLU())
        second = nn.Sequential(nn.Linear(4096, 4096, bias=False), nn.BatchNorm1d(4096), nn.ReLU())
        self.blocks = nn.ModuleList([*convolutions, first, second, nn.Sequential(nn.Linear(4096, num_classes))])
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        """Images [batch, 3, 64, 64] as points on the unit sphere, [batch, num_classes]."""
        for block in self.blocks:
            images = block(images)
        return torch.nn.functional.normalize(images, dim=1)


default_cfgs = generate_default_cfgs(
    {
        # size, crop (of 70 pixels) and colours as the linear probes of the paper's code had them
        "small_alexnet.align_uniform": {
            "input_size": (3, 64, 64),
            "num_classes": 128,
            "crop_pct": 64 / 70,
            "interpolation": "bilinear",
            "mean": (0.44087801806139126, 0.42790631331699347, 0.3867879370752931),
            "std": (0.26826768628079806, 0.2610450402318512, 0.26866836876860795),
            "first_conv": "blocks.0.0",
            "classifier": "blocks.7.0",
        }
    }
)


@register_model
def small_alexnet(pretrained: bool = False, **arguments: object) -> SmallAlexNet:
    """`SmallAlexNet`, as timm calls its constructors."""
    return build_model_with_cfg(SmallAlexNet, "small_alexnet", pretrained, **arguments)
