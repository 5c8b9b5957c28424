"""What a representation is made of: layers, kernels and tables of neighbours, checked; and neighbours searched in them.

This module does not import torch before there are layers or kernels, as jobs that read neighbours only need not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from prh.core.ties import key_of

if TYPE_CHECKING:
    import torch

    from prh.core.metrics.representation import Representation
    from prh.core.neighbours import Neighbours


class Inputs(NamedTuple):
    """Layers, kernels and tables of the layers that take part, each None if there are none."""

    total: int  # how many layers there are, those left out included
    places: np.ndarray  # int, positions among them of those that take part
    n: int
    layers: list[torch.Tensor] | None
    kernels: list[torch.Tensor] | None
    tables: list[np.ndarray] | None


def checked_inputs(
    name: str,
    layers: Sequence[Any] | None,
    kernels: Sequence[Any] | None,
    neighbours: Sequence[Any] | None,
    gallery: int | None,
    device: str,
) -> Inputs:
    """Check the inputs of ``Representation`` and drop the layers that are constant; its docstring lists the errors."""
    parts = {"layers": layers, "kernels": kernels, "neighbours": neighbours}
    parts = {kind: part for kind, part in parts.items() if part is not None and len(part)}
    _require_one_kind(name, parts)
    if "kernels" in parts:
        parts["kernels"] = _checked_kernels(kernels, name, device)
    sizes = {len(layer) for part in parts.values() for layer in part if layer is not None}
    if len(sizes) > 1:
        raise ValueError(f"{name}: its layers have {sorted(sizes)} samples; all layers must have the same number.")
    if "kernels" in parts:
        parts["kernels"] = _differing(parts["kernels"])
    if "layers" in parts:
        parts["layers"] = _checked_layers(layers, name, device)
    total = len(next(iter(parts.values())))
    kept = [place for place in range(total) if all(part[place] is not None for part in parts.values())]
    if not kept:
        alike = "similarities" if "kernels" in parts else "rows"
        which = f"{name}, layer 0: all {alike}" if total == 1 else f"{name}: all {alike} of each of its layers"
        raise ValueError(f"{which} are equal, so no sample is nearer than another; leave it out.")
    n = sizes.pop()
    if "neighbours" in parts:
        parts["neighbours"] = _checked_tables(neighbours, kept, name, gallery or n)
    for kind in {"layers", "kernels"} & parts.keys():
        parts[kind] = [parts[kind][place] for place in kept]
    return Inputs(total, np.array(kept), n, parts.get("layers"), parts.get("kernels"), parts.get("neighbours"))


def searched(x: Representation, k: int, numbers: np.ndarray | None = None) -> list[Neighbours]:
    """Search neighbours in all layers of x; ``numbers`` [n]: its sample numbers, if it is part of a larger set."""
    from prh.core.kernel_neighbours import nearest_by_kernel
    from prh.core.neighbours import nearest

    keys = [key_of(x.name, x.numbers[place]) for place in x.places]
    settings = {"numbers": numbers, "precision": x.precision, "device": x.device, "memory_gb": x.memory_gb}
    parts, search = (x.kernels, nearest_by_kernel) if x.has_kernels else (x.layers, nearest)
    return [search(part, k, key=key, **settings) for key, part in zip(keys, parts, strict=True)]


def _require_one_kind(name: str, parts: Mapping[str, Sequence[Any]]) -> None:
    """Raise ValueError unless there is one of ``parts``, not layers beside kernels, and as many layers in each."""
    if not parts:
        raise ValueError(f"{name} has neither layers nor neighbours nor kernels; pass at least one of them.")
    if "layers" in parts and "kernels" in parts:
        raise ValueError(f"{name} has both layers and kernels; pass the layers alone if there are features.")
    first = next(iter(parts))
    if len({len(part) for part in parts.values()}) > 1:
        raise ValueError(
            f"{name} has {len(parts[first])} {first} but neighbours of {len(parts['neighbours'])}; pass as many of "
            "both, or only one of them."
        )


def _differing(kernels: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """The kernels, with None for each that is constant over the samples."""
    from prh.core.kernel_inputs import is_constant_kernel

    return [None if kernel is None or is_constant_kernel(kernel) else kernel for kernel in kernels]


def _checked_kernels(kernels: Sequence[Any], name: str, device: str) -> list[torch.Tensor | None]:
    """The kernels as tensors."""
    from prh.core.kernel_inputs import as_kernel

    if getattr(kernels, "ndim", 3) == 2:
        raise ValueError(f"{name}: kernels are a list of matrices [n, n], one per layer; pass one matrix as [K].")
    checked = [None if K is None else as_kernel(K, f"{name}, layer {i}", device) for i, K in enumerate(kernels)]
    sizes = [(i, len(kernel)) for i, kernel in enumerate(checked) if kernel is not None]
    for i, size in sizes:
        if size != sizes[0][1]:
            raise ValueError(
                f"{name}, layer {i} has {size} samples, but layer {sizes[0][0]} has {sizes[0][1]}; all kernels of a "
                "model must be of the same samples."
            )
    return checked


def _checked_layers(layers: Sequence[Any], name: str, device: str) -> list[torch.Tensor | None]:
    """The layers as tensors; None for each that is constant over the samples."""
    from prh.core.float32 import as_matrix
    from prh.core.preparation import is_constant

    checked = [None if a is None else as_matrix(a, f"{name}, layer {i}", device) for i, a in enumerate(layers)]
    for i, layer in enumerate(checked):
        if layer is not None and len(layer) < 2:
            raise ValueError(
                f"{name}, layer {i} has one sample; alignment compares distances, so it needs at least two."
            )
    return [None if layer is None or is_constant(layer) else layer for layer in checked]


def _checked_tables(tables: Sequence[Any], kept: Sequence[int], name: str, gallery: int) -> list[np.ndarray]:
    checked = {i: np.asarray(tables[i]) for i in kept}
    for i, table in checked.items():
        if table.ndim != 2 or not np.issubdtype(table.dtype, np.integer) or not table.size:
            raise ValueError(
                f"{name}, layer {i}: neighbours must be integers [n, k_max], not {table.dtype} {list(table.shape)}."
            )
        if table.min() < 0 or table.max() >= gallery:
            raise ValueError(f"{name}, layer {i}: neighbours must be from 0 to {gallery - 1}; recompute the table.")
        in_order = np.sort(table, axis=1)
        if (table == np.arange(len(table))[:, None]).any() or (in_order[:, 1:] == in_order[:, :-1]).any():
            raise ValueError(f"{name}, layer {i}: a list has its own sample or a repeated one; recompute the table.")
    return [table.astype(np.int32, copy=False) for table in checked.values()]
