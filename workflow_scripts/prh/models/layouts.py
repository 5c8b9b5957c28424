"""The layout of every layer of a vision model, found by experiment and never from the model's name.

Axes differ in what makes them grow: the batch axis grows with the number of images, the spatial axes ("places") with
the size of the image, and the width with neither. Shapes are enough to see that, so the larger image is passed through
a twin of the model on the meta device, which has no weights and takes no time. The twin can also be built for another
size when the model itself takes one fixed size.

Some tokens may not be places of the image. Their number p follows from the token counts at two sizes: n = p + places,
and an image with sides twice as long has four times the places. Which tokens they are shows where they enter: before
the first attention, a learned token is identical for every image, to the bit. The class token is the learned token that
changes when the parameter with such a name changes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from prh.models.observation import Layers, Learned, Seen, Shapes, class_tokens, look
from prh.models.pooling import Layout, Path
from prh.models.repositories import ModelError, first_line

log = logging.getLogger(__name__)

Twin = Callable[[tuple[int, int] | None], nn.Module | None]
"""Builds the model on the meta device for images of [height, width], or as is for None; returns None if it cannot."""

EVEN_SIZES = ((256, 512, 768), (224, 448, 672))
"""Sides of images that are multiples of 8, 16 and 32 (first) or 14 (second) pixels, so that the number of patches grows
in even steps; the first are still whole after two more halvings."""


class _Unproved(Exception):
    """The evidence does not determine the layout; the message says why and completes a sentence."""


def prove_layouts(
    module: nn.Module,
    layers: Layers,
    images: Tensor,
    twin: Twin,
    widths: Collection[int] = (),
    *,
    whole: bool = False,
    model: str = "",
) -> list[Layout]:
    """The layout of each of ``layers``, proved on ``images`` [2, channels, height, width], which must differ.

    ``widths``: the layer widths that the model declares; used only if it cannot be built for another image size.
    ``whole``: whether the layers must reach the end of the model, as they must if they were found automatically.
    ``model``: its name in messages. Raises ModelError, naming model, layer and shape, if a layout cannot be proved.
    """
    kind = f"{model} ({type(module).__name__})" if model else type(module).__name__
    learned: Learned = {}
    alone, pair = look(module, layers, images[:1]), look(module, layers, images, learned)
    if (failure := alone.failure or pair.failure) is not None:
        raise _failed(kind, images, failure)
    for number, (name, _) in enumerate(layers):
        if pair.calls[number] != 1:
            raise ModelError(
                f"layer {name} of {kind} runs {pair.calls[number]} times in one pass, so it has no single output; set "
                "'layers' to modules that run once."
            )
    if whole and 4 * pair.depths[len(layers) - 1] < pair.depths[-1]:
        raise ModelError(
            f"{kind} goes on for three quarters of its depth after {layers[-1][0]}, the last layer that was found; "
            "set 'layers' to modules along its whole depth."
        )
    of_class = class_tokens(module, images, learned)
    evidence = _Evidence([name for name, _ in layers], images, pair, twin)
    layouts: list[Layout] = []
    for number, (name, _) in enumerate(layers):
        shapes = pair.shapes[number] or {}
        reasons: list[str] = []
        for sizes in evidence.of_layer(number):
            try:
                layout = _choose(alone.shapes[number] or {}, shapes, *sizes[:2], pair.consumed)
                layouts.append(_with_tokens(layout, shapes, sizes, learned, of_class, layouts))
                break
            except _Unproved as reason:
                reasons.append(str(reason))
        else:
            try:
                if reasons:
                    raise _Unproved(reasons[0])
                layouts.append(_by_width(alone.shapes[number] or {}, shapes, learned, of_class, widths))
            except _Unproved as reason:
                raise ModelError(
                    f"layer {name} of {kind} gives {_shown(shapes)} for two images, and {reason}; set 'layers' to "
                    "modules whose outputs are tokens, maps or vectors."
                ) from None
    return layouts


def _failed(kind: str, images: Tensor, cause: Exception) -> ModelError:
    return ModelError(
        f"{kind} does not take images of shape {tuple(images.shape)} ({type(cause).__name__}: {first_line(cause)}); "
        "a vision model must take a batch of single images (no videos, no pairs), as large as its preprocessing gives."
    )


def _shown(shapes: Shapes) -> str:
    return " and ".join(str(list(shape)) for shape in shapes.values()) or "no tensor of its own"


class _Evidence:
    """Shapes of the outputs at two image sizes, or at three in even steps; computed on demand, best first."""

    def __init__(self, names: Sequence[str], images: Tensor, pair: Seen, twin: Twin) -> None:
        self._made: list[tuple[Seen, ...]] = []
        self._rest = self._make(names, images, pair, twin)

    def of_layer(self, number: int) -> Iterator[list[Shapes]]:
        """For each piece of evidence, the shapes of one layer at its sizes, if the layer ran at all of them."""
        piece = 0
        while piece < len(self._made) or self._more():
            sizes = [shapes for seen in self._made[piece] if (shapes := seen.shapes[number]) is not None]
            if len(sizes) == len(self._made[piece]):
                yield sizes
            piece += 1

    def _more(self) -> bool:
        following = next(self._rest, None)
        if following is not None:
            self._made.append(following)
        return following is not None

    @staticmethod
    def _make(names: Sequence[str], images: Tensor, pair: Seen, twin: Twin) -> Iterator[tuple[Seen, ...]]:
        def passed(model: nn.Module | None, size: tuple[int, int]) -> Seen:
            if model is None:
                return Seen([None] * len(names))
            layers = [(name, model.get_submodule(name)) for name in names]
            seen = look(model, layers, torch.empty(2, images.shape[1], *size, device="meta"))
            log.debug("a pass of images of %s on the meta device: %s", size, seen.failure or "whole")
            return seen

        height, width = images.shape[2:]
        twice = 2 * height, 2 * width
        yield pair, passed(twin(twice), twice)
        as_it_is = twin(None)
        yield pair, passed(as_it_is, twice)
        for sizes in EVEN_SIZES:
            yield tuple(passed(twin((size, size)), (size, size)) for size in sizes)
            yield tuple(passed(as_it_is, (size, size)) for size in sizes)


def _batch_axis(alone: tuple[int, ...], pair: tuple[int, ...]) -> tuple[int, int]:
    """The axis that counts images, and how many entries it has per image."""
    if len(alone) != len(pair):
        raise _Unproved("it has more axes for two images than for one")
    moved = [axis for axis, (one, two) in enumerate(zip(alone, pair, strict=True)) if one != two]
    if len(moved) != 1 or pair[moved[0]] != 2 * alone[moved[0]]:
        raise _Unproved(f"no one axis of it counts images (for one image it is {list(alone)})")
    return moved[0], alone[moved[0]]


def _axes(alone: tuple[int, ...], pair: tuple[int, ...], small: tuple[int, ...], large: tuple[int, ...]) -> Layout:
    """The axes of a tensor, from its shapes for one image, two images, small images and images twice as large."""
    batch, windows = _batch_axis(alone, pair)
    if not len(pair) == len(small) == len(large):
        raise _Unproved("the number of its axes changes with the image's size")
    others = [axis for axis in range(len(pair)) if axis != batch]
    places = tuple(axis for axis in others if small[axis] != large[axis])
    widths = [axis for axis in others if axis not in places]
    if len(widths) != 1:
        some = f"of its axes only {', '.join(map(str, places))} changes" if places else "none of its axes changes"
        which = some if widths else "every axis changes"
        raise _Unproved(f"{which} with the image's size, so that its width cannot be told")
    if len(places) > 2 or (windows > 1 and len(places) != 1):
        raise _Unproved(f"{len(places)} of its axes change with the image's size")
    if len(places) == 2 and any(small[axis] > 8 and large[axis] > 3 * small[axis] for axis in places):
        raise _Unproved("two of its axes grow faster than the image's sides, as between pairs of tokens")
    return Layout(places, widths[0], batch, windows=windows > 1)


def _choose(alone: Shapes, pair: Shapes, small: Shapes, large: Shapes, consumed: Mapping[Path, int]) -> Layout:
    """The layout of the one tensor in an output that holds the features."""
    layouts: list[Layout] = []
    reason = _Unproved("the layer computes none of it")
    for path in pair:
        try:
            shapes = [seen[path] for seen in (alone, pair, small, large)]
            layouts.append(replace(_axes(*shapes), path=path))
        except KeyError:
            reason = _Unproved("the structure of its output depends on the number or size of the images")
        except _Unproved as unproved:
            reason = unproved
    if not layouts:
        raise reason
    best = [layout for layout in layouts if not layout.windows] or layouts
    if len(best) > 1:
        best = [layout for layout in best if consumed.get(layout.path)]
    if len(best) != 1:
        raise _Unproved("it is unclear which of these tensors holds the features")
    return best[0]


def _with_tokens(
    layout: Layout,
    pair: Shapes,
    sizes: Sequence[Shapes],
    learned: Learned,
    of_class: Mapping[int, int],
    before: Sequence[Layout],
) -> Layout:
    """``layout`` with its extra tokens, which are not places of the image: counted, and found among ``learned``."""
    if len(layout.places) != 1:
        return layout
    axis = layout.places[0]

    def tokens(shapes: Shapes) -> int:
        shape = shapes[layout.path]
        return shape[axis] * (shape[layout.batch] // 2 if layout.windows else 1)

    counts, total = [tokens(shapes) for shapes in sizes], tokens(pair)
    count = _tokens_beside(counts)
    if count is None or not 0 <= count < min(total, counts[0]):
        raise _Unproved(
            f"its {' and '.join(map(str, counts))} tokens at evenly growing image sizes fit no number of class "
            "and other extra tokens"
        )
    candidates = [constant for number, constant in learned if number == total]
    fitting = [tokens for tokens in candidates if len(tokens) == count]
    if count == 0 and not candidates:
        return layout
    if len(fitting) == 1 and not layout.windows:
        return _at_the_ends(layout, fitting[0], total, of_class.get(total))
    inherited = next((one for one in reversed(before) if one.first + one.last), None)
    if inherited is not None and not candidates and (inherited.first, inherited.last) == (count, 0):
        return replace(layout, first=count, class_token=inherited.class_token)
    raise _Unproved(f"it is unclear which {count} of its {total} tokens are not places of the image")


def _tokens_beside(counts: Sequence[int]) -> int | None:
    """The number p of tokens that are not places of the image, from token counts; None if no whole number fits.

    Two images, the second with sides twice as long: n = p + hw and p + 4hw. Three squares whose sides grow evenly:
    n = p + h^2, p + (h + d)^2 and p + (h + 2d)^2, which also holds if patches overlap.
    """
    if len(counts) == 2:
        count, rest = divmod(4 * counts[0] - counts[1], 3)
        return None if rest else count
    first, second, third = counts
    step = math.isqrt(max(0, (third - 2 * second + first) // 2))
    side, rest = divmod(second - first - step**2, 2 * step) if step else (0, 1)
    fits = not rest and first - side**2 == third - (side + 2 * step) ** 2
    return first - side**2 if fits else None


def _at_the_ends(layout: Layout, tokens: Collection[int], total: int, class_token: int | None) -> Layout:
    """``layout`` with these extra tokens, which must lie before and after all places of the image."""
    first = next(index for index in range(total + 1) if index not in tokens)
    last = len(tokens) - first
    if set(range(total - last, total)) | set(range(first)) != set(tokens):
        raise _Unproved(f"its tokens {sorted(tokens)[:10]} that are not places of the image lie between the others")
    return replace(layout, first=first, last=last, class_token=class_token if class_token in tokens else None)


def _by_width(
    alone: Shapes,
    pair: Shapes,
    learned: Learned,
    of_class: Mapping[int, int],
    widths: Collection[int],
) -> Layout:
    """The layout if no larger image can be passed: exactly one axis must be as long as a width of the model."""
    if len(pair) != 1:
        raise _Unproved("its axes cannot be told apart, because the model takes images of one size only")
    ((path, shape),) = pair.items()
    batch, windows = _batch_axis(alone.get(path, ()), shape)
    others = [axis for axis in range(len(shape)) if axis != batch]
    fitting = others if len(shape) == 2 else [axis for axis in others if shape[axis] in widths]
    places = tuple(axis for axis in others if axis not in fitting)
    if (
        windows > 1
        or len(fitting) != 1
        or len(places) > 2
        or (len(places) == 2 and len({shape[i] for i in places}) > 1)
    ):
        raise _Unproved("its axes cannot be told apart, because the model takes images of one size only")
    layout = Layout(places, fitting[0], batch, path=path)
    if len(places) != 1:
        return layout
    total = shape[places[0]]
    sets = [constant for number, constant in learned if number == total] or [frozenset()]
    if len(sets) != 1 or math.isqrt(total - len(sets[0])) ** 2 != total - len(sets[0]):
        raise _Unproved("its tokens cannot be told apart, because the model takes images of one size only")
    return _at_the_ends(layout, sets[0], total, of_class.get(total))
