"""Pooling of a block's output into one vector per image, by a layout that was proved when the model was loaded.

A layout says which axis of an output counts images, which axes are places of the image, and which one is the width.
`prh.models.layouts` finds it by passing images of two sizes; nothing here depends on the name of a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from prh.models.repositories import ModelError

Path = tuple[int | str, ...]
"""The position of a tensor in nested tuples, lists and dicts: () for an output that is itself a tensor."""


@dataclass(frozen=True)
class Layout:
    """How one layer's output is pooled.

    ``places``: the spatial axes: none (vectors), one (tokens) or two (maps). ``width``: the axis of the features.
    ``batch``: the axis of the images, which holds several windows per image if ``windows``. ``first`` and ``last``: how
    many tokens at either end are not places of the image (class, distillation, register and detection tokens).
    ``class_token``: the index of the class token, or None. ``path``: which tensor of the output holds the features.
    """

    places: tuple[int, ...]
    width: int
    batch: int = 0
    first: int = 0
    last: int = 0
    class_token: int | None = None
    windows: bool = False
    path: Path = ()

    def __str__(self) -> str:
        if not self.places:
            return "vectors"
        axes = {self.batch: "windows" if self.windows else "batch", self.width: "width"}
        axes |= dict(zip(self.places, ("tokens",) if len(self.places) == 1 else ("height", "width_px"), strict=True))
        text = f"[{', '.join(axes[axis] for axis in sorted(axes))}]"
        if self.path:
            text += f" at {'.'.join(map(str, self.path))}"
        if self.first or self.last:
            text += f", {self.first} + {self.last} tokens before and after the image"
        if self.class_token is not None:
            text += f", class token {self.class_token}"
        return text


def tensors_in(output: object, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Every tensor in a module's output, however nested, with its path."""
    if isinstance(output, Tensor):
        yield path, output
    elif isinstance(output, Mapping):
        for key, part in output.items():
            yield from tensors_in(part, (*path, key))
    elif isinstance(output, list | tuple):
        for index, part in enumerate(output):
            yield from tensors_in(part, (*path, index))


def pool(output: object, layout: Layout, pooling: str, images: int) -> Tensor:
    """A layer's output as float32 [images, width].

    ``pooling``: ``cls`` takes the class token, ``gap`` the mean over the places of the image, ``mean`` that over all
    tokens. Maps consist of places only, and vectors are returned as they are. Raises ModelError if the output does not
    have this ``layout``.
    """
    for step in layout.path:
        output = output[step]  # type: ignore[index]
    if not isinstance(output, Tensor) or output.ndim != 2 + len(layout.places):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(f"an output has shape {shape}, not {layout} as when the model was loaded.")
    if layout.windows:  # [images * windows, tokens, width]: the windows of an image follow one another
        tokens = output.movedim((layout.batch, *layout.places, layout.width), tuple(range(output.ndim)))
        return tokens.reshape(images, -1, output.shape[layout.width]).float().mean(1)
    if len(layout.places) != 1:
        vectors = output.float().mean(layout.places) if layout.places else output.float()
    else:
        vectors = _pool_tokens(output, layout, pooling)
    return vectors if layout.batch < layout.width else vectors.T


def _pool_tokens(output: Tensor, layout: Layout, pooling: str) -> Tensor:
    (axis,) = layout.places
    if pooling == "cls":
        if layout.class_token is None:
            raise ModelError("pooling 'cls' needs a class token and a layer has none; use 'gap' or 'mean'.")
        return output.select(axis, layout.class_token).float()
    if pooling == "gap" and (layout.first or layout.last):
        output = output.narrow(axis, layout.first, output.shape[axis] - layout.first - layout.last)
    return output.float().mean(axis)
