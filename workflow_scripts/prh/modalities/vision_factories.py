"""Vision models that a function of the user's builds (``source: python``), with the proofs of all vision models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from prh.modalities import vision
from prh.models import factories, vision_loading, vision_proofs
from prh.models.loading import parameter_count
from prh.models.repositories import ModelError
from prh.models.selftest import SelfTest

if TYPE_CHECKING:
    from prh.experiment.schema import VisionModel


def load(entry: VisionModel, root: Path | None, device: str, dtype: torch.dtype) -> vision.VisionEncoder:
    """The encoder of the module and transform that the factory of an entry returns, self-tested.

    With the self-test it is built twice, one after the other. Raises ModelError if the factory fails, returns anything
    else or gives other features the second time, and like `prh.modalities.vision.load`.
    """
    if not entry.selftest:
        return _built(entry, root, device, dtype)
    first = _built(entry.model_copy(update={"selftest": False}), root, device, dtype)
    examples = vision_proofs.example_images(first.transform, f"model {entry.name!r}")
    features = first.encode(examples)
    factories.require_finite(features, entry)
    del first  # so that only one is in memory
    encoder = _built(entry, root, device, dtype)
    factories.require_same(features, encoder.encode(examples), entry, dtype)
    encoder.selftest = SelfTest({**encoder.selftest.results, "weights": factories.PROVED.format(entry.factory)})
    return encoder


def _built(entry: VisionModel, root: Path | None, device: str, dtype: torch.dtype) -> vision.VisionEncoder:
    module, transform = factories.build(entry, root)
    module = vision_loading.place(module.eval(), device, dtype)
    parts = vision_loading.Parts(
        module=module,
        transform=OwnTransform(transform, entry.name),
        twin=lambda size: None if size is not None else factories.on_meta(module),
        parameters=parameter_count(module),
        weights="from the factory, not proved, by selftest: false of the entry",
    )
    return vision.proved(entry, parts, device, dtype)


class OwnTransform:
    """A user's transform, checked for each image; a class, so that worker processes can unpickle it."""

    def __init__(self, transform: Callable[[Image.Image], Tensor], name: str) -> None:
        self.transform, self.name = transform, name
        self.shape: list[int] | None = None

    def __call__(self, image: Image.Image) -> Tensor:
        """The image for the model, a tensor [3, height, width]. Raises ModelError for anything else."""
        prepared = self.transform(image)
        is_tensor = isinstance(prepared, Tensor)
        if not is_tensor or prepared.ndim != 3 or len(prepared) != 3 or not prepared.is_floating_point():
            shown = f"{list(prepared.shape)} of {prepared.dtype}" if is_tensor else f"a {type(prepared).__name__}"
            raise ModelError(
                f"model {self.name!r}: its transform turns an image into {shown}; it must return floating-point "
                "numbers as a tensor [3, height, width]."
            )
        self.shape = self.shape or list(prepared.shape)
        if list(prepared.shape) != self.shape:
            raise ModelError(
                f"model {self.name!r}: its transform gives images of several shapes ({self.shape} and "
                f"{list(prepared.shape)}); add a resize or a crop to it."
            )
        return prepared.detach()
