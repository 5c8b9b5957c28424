"""What a vision model proves when it is loaded, beside the layout of its layers (`prh.models.layouts`).

Its preparation gives images of one shape; two passes give the same; an image alone gives the same as in a batch.
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
"""Width and height of the images that are passed: two forms, which a preparation that keeps them does not hide."""

TOLERANCES = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""How far two results of the same image may lie apart, relative to their largest value: rounding of sums that a library
orders by the size of the batch. Dropout and random masks move results by as much as they are large."""


def example_images(transform: Callable[[Image.Image], object], model: str) -> Tensor:
    """Two images of noise, of two shapes, as the preparation of ``model`` gives them: [2, channels, height, width].

    Raises ModelError where it fails, gives no single image for an image, or images of several shapes.
    """
    generator = np.random.default_rng(0)
    prepared = []
    for width, height in EXAMPLES:
        # noise of blocks of 8 pixels: what is left of it after the preparation has made the image smaller is no grey
        blocks = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
        try:
            image = transform(picture)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{model}: its preparation fails for an image of {width} x {height} pixels "
                f"({type(error).__name__}: {first_line(error, 'no message')})."
            ) from error
        if not isinstance(image, Tensor) or image.ndim != 3:
            shape = list(image.shape) if hasattr(image, "shape") else type(image).__name__
            raise ModelError(
                f"{model}: its preparation makes {shape} of one image, not [channels, height, width]; models of video, "
                "of tiles and of lists of patches cannot be read as vision models."
            )
        prepared.append(image)
    shapes = [list(image.shape) for image in prepared]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"{model}: its preparation makes images of several shapes ({shapes[0]} of {EXAMPLES[0][0]} x "
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
    """What two passes of two ``images`` and one of the first image alone prove: for each, the result in words.

    ``exact``: the same model in float64, which is asked where the features of one image differ: in deep nets that were
    not trained, rounding of float32 can grow with every layer until it looks like a fault, and in float64 it does not.
    Raises ModelError for the layer that differs most, where that is more than rounding.
    """
    first, again, alone = encode(images), encode(images), encode(images[:1])
    tolerance = TOLERANCES.get(dtype, max(TOLERANCES.values()))
    name, apart = _farthest(first, again, names)
    if not apart <= tolerance:
        raise ModelError(
            f"{model}: two passes of the same images differ (layer {name}, by {apart:.2g} of its largest value), so "
            "that its features are partly chance; turn off (model_args) what draws at random: a mask, or dropout."
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
    except RuntimeError as error:  # a model that holds some of its numbers in float32
        log.debug("not run in float64: %s", error)
        return False
    return _farthest([layer[:1] for layer in together], alone, names)[1] <= TOLERANCES[torch.float32]


def _in_words(apart: float) -> str:
    return "equal" if apart == 0 else f"equal up to rounding ({apart:.0e})"


def _farthest(ours: Sequence[Tensor], theirs: Sequence[Tensor], names: Sequence[str]) -> tuple[str, float]:
    """The layer whose two results lie farthest apart, relative to its largest value; NaN counts as farthest."""
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
    """The layouts of all layers, neighbours of one kind together: "blocks.0 to blocks.11: [batch, tokens, width]"."""
    parts = []
    for words, run in groupby(zip(names, layouts, strict=True), key=lambda pair: str(pair[1])):
        members = [name for name, _ in run]
        parts.append(f"{members[0]}{f' to {members[-1]}' if len(members) > 1 else ''}: {words}")
    return "; ".join(parts)
