"""What a vision model proves when it is loaded, besides the layout of its layers (`prh.models.layouts`).

Its preprocessing gives images of one shape, two passes give the same result, and an image gives the same result alone
and in a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prh.models.pooling import Layout
from prh.models.repositories import ModelError, first_line

log = logging.getLogger(__name__)

EXAMPLES = ((320, 240), (240, 320))
"""Width and height of the example images: two aspect ratios, to expose preprocessing that keeps them."""

TOLERANCES = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""Largest difference of two results for one image, relative to their largest value, that counts as rounding: libraries
order sums by batch size. Dropout and random masks change results by about their own size."""


def example_images(transform: Callable[[Image.Image], object], model: str) -> Tensor:
    """Two noise images of different shapes after the preprocessing of ``model``: [2, channels, height, width].

    Raises ModelError if the preprocessing fails, does not give one image per image, or gives images of several shapes.
    """
    generator = np.random.default_rng(0)
    prepared = []
    for width, height in EXAMPLES:
        # blocks of 8 pixels, because finer noise would turn grey when the image is scaled down
        blocks = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
        try:
            image = transform(picture)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{model}: its preprocessing fails for an image of {width} x {height} pixels "
                f"({type(error).__name__}: {first_line(error, 'no message')})."
            ) from error
        if not isinstance(image, Tensor) or image.ndim != 3:
            shape = list(image.shape) if hasattr(image, "shape") else type(image).__name__
            raise ModelError(
                f"{model}: its preprocessing turns one image into {shape}, not [channels, height, width]; models of "
                "videos, tiles or lists of patches cannot be read as vision models."
            )
        prepared.append(image)
    shapes = [list(image.shape) for image in prepared]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{model}: its preprocessing gives images of several shapes ({shapes[0]} of {EXAMPLES[0][0]} x "
            f"{EXAMPLES[0][1]} pixels, {shapes[1]} of {EXAMPLES[1][0]} x {EXAMPLES[1][1]}), which fit no batch; set "
            "one size, or a crop, in its preprocessor_config.json."
        )
    return torch.stack(prepared)


def prove_repeatable(
    encode: Callable[[Tensor], Sequence[Tensor]],
    images: Tensor,
    names: Sequence[str],
    *,
    model: str,
    dtype: torch.dtype = torch.float32,
    exact: Callable[[Tensor], Sequence[Tensor]] | None = None,
) -> dict[str, str]:
    """Prove that two passes over two ``images`` agree, and one over the first image alone; the results in words.

    ``exact``: the same model in float64, used if an image alone and in a batch gives different features. In deep
    untrained nets, float32 rounding can grow with every layer until it looks like a fault; in float64 it does not.
    Raises ModelError, naming the layer that differs most, if the difference is more than rounding.
    """
    first, again, alone = encode(images), encode(images), encode(images[:1])
    tolerance = TOLERANCES.get(dtype, max(TOLERANCES.values()))
    name, apart = _farthest(first, again, names)
    if not apart <= tolerance:
        raise ModelError(
            f"{model}: two passes of the same images differ (layer {name}, by {apart:.2g} of its largest value), so "
            "its features are partly random; turn off its random mask or dropout under 'model_args'."
        )
    results = {"two passes": _in_words(apart)}
    name, apart = _farthest([layer[:1] for layer in first], alone, names)
    if not apart <= tolerance and exact is not None and _is_rounding(exact, images, names):
        log.warning("%s: rounding grows to %.2g of the largest value of layer %s.", model, apart, name)
        return results | {"an image alone and in a batch": f"equal in float64 (rounding grows to {apart:.0e})"}
    if not apart <= tolerance:
        raise ModelError(
            f"{model}: an image alone and in a batch gives different features (layer {name}, by {apart:.2g} of its "
            "largest value); it mixes the images of a batch, as models of video and batch normalisation in training do."
        )
    return results | {"an image alone and in a batch": _in_words(apart)}


def _is_rounding(exact: Callable[[Tensor], Sequence[Tensor]], images: Tensor, names: Sequence[str]) -> bool:
    try:
        together, alone = exact(images), exact(images[:1])
    except RuntimeError as error:  # the model keeps some tensors in float32
        log.debug("cannot run in float64: %s", error)
        return False
    return _farthest([layer[:1] for layer in together], alone, names)[1] <= TOLERANCES[torch.float32]


def _in_words(apart: float) -> str:
    return "equal" if apart == 0 else f"equal up to rounding ({apart:.0e})"


def _farthest(ours: Sequence[Tensor], theirs: Sequence[Tensor], names: Sequence[str]) -> tuple[str, float]:
    """The layer whose two results differ most, relative to its largest value, and by how much; NaN counts as most."""
    farthest = names[0], 0.0
    for name, a, b in zip(names, ours, theirs, strict=True):
        scale = float(a.abs().max())
        difference = float((a - b).abs().max())
        apart = difference / scale if scale > 0 else difference
        if not apart <= farthest[1]:
            farthest = name, apart
            if apart != apart:
                break
    return farthest


def layouts_in_words(names: Sequence[str], layouts: Sequence[Layout]) -> str:
    """The layouts of all layers, with equal neighbours merged: "blocks.0 to blocks.11: [batch, tokens, width]"."""
    parts = []
    for words, run in groupby(zip(names, layouts, strict=True), key=lambda pair: str(pair[1])):
        members = [name for name, _ in run]
        parts.append(f"{members[0]}{f' to {members[-1]}' if len(members) > 1 else ''}: {words}")
    return "; ".join(parts)
