"""Architectures of published checkpoints that timm lacks; importing this module adds them to timm's registry."""

from __future__ import annotations

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

__all__ = ["SmallAlexNet"]


class SmallAlexNet(nn.Module):
    """The AlexNet for 64-pixel images whose trained encoders Baradad et al. 2021 (arXiv 2106.05963) published.

    Five 3x3 convolutions and three linear maps, all but the last followed by batch normalisation and ReLU. The last map
    projects onto the unit sphere, where the loss of Wang & Isola 2020 is computed. Weights are named as in the
    published files (``blocks.0.0.weight`` ...); ``blocks.i`` outputs a map for i < 5 and a vector after that.
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
        # Flatten has no weights but takes index 0, so that the linear map has index 1 as in the published files
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
        # image size, crop (from 70 pixels) and colour statistics of the linear probes in the paper's code
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
    """Build a `SmallAlexNet`; timm registers it under the name of this function."""
    return build_model_with_cfg(SmallAlexNet, "small_alexnet", pretrained, **arguments)
