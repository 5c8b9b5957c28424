"""Vision: models of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prh.modalities.base import Cost, Modality, register
from prh.models import timm_names

if TYPE_CHECKING:
    from prh.experiment.schema import VisionModel

PATCHES = 257
"""Tokens of a 224-pixel image in patches of 14 pixels, for estimates."""
DECODED = 200
"""Images that one process decodes per second, for estimates."""


def mistake(entry: VisionModel) -> str | None:
    """What is wrong with the timm architecture of an entry, or None; otherwise a job would say so after hours."""
    named = entry.training.architecture if entry.training else entry.id
    is_read = entry.library == "timm" and (entry.source != "local" or not Path(str(entry.path)).is_dir())
    if named is None or not is_read:
        return None
    if entry.source != "hub" and ("/" in named or ":" in named):
        return f"{named!r} is not the name of a timm architecture"
    return timm_names.mistake(named)


register(
    Modality(
        "vision",
        entry="prh.experiment.schema:VisionModel",
        load={
            "timm": "prh.modalities.vision:load",
            "transformers": "prh.modalities.vision:load",
            "python": "prh.modalities.vision_factories:load",
        },
        reads=("image",),
        encode="prh.modalities.image_batches:encode",
        is_probed=True,
        train="prh.world.vision_learners:train",
        mistake=mistake,
        repository="prh.models.hub_checks:image_preparation",
        cost=Cost(tokens=lambda entry: PATCHES, preparing=1 / DECODED, stored=4),
        colour="#0072B2",
    )
)
