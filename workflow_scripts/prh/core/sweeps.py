"""Alignment as a function of the number of samples n: the same queries are searched in growing galleries.

A score at a single (n, k) is hard to interpret: at fixed k it falls as n grows, because the chance level falls and
because "near" comes to mean nearer (Koepke et al. 2026, arXiv:2604.18572). So sweep both, and compare raw with
calibrated scores. A curve over k needs no code here: every k is read from the same lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prh.core.metrics import METRICS, Representation
from prh.core.preparation import Precision
from prh.core.ties import key_of

if TYPE_CHECKING:
    from prh.core.neighbours import Neighbours


def can_sweep(metric: str) -> bool:
    """Whether ``metric`` scores each sample from its own neighbours only, so that queries can be part of a gallery."""
    return METRICS[metric].per_query


def in_gallery(
    name: str,
    layers: Sequence[Any],
    gallery: np.ndarray,
    queries: int,
    k: int,
    device: str = "cpu",
    memory_gb: float = 2.0,
    precision: Precision = "float32",
    *,
    kernels: bool = False,
) -> Representation:
    """The ``k`` neighbours of some samples of a model in a gallery that contains them.

    Parameters
    ----------
    name : str
        Name of the model.
    layers : sequence of floating [N, d]
        Prepared layers, or with ``kernels`` similarities of all pairs of samples [N, N]; None for one that is left out.
        Layers that are constant over the gallery are left out too.
    gallery : int [m]
        Indices of the gallery among the N samples.
    queries : int
        The first so many samples of the gallery are the queries.
    k : int
        Number of neighbours.
    device, memory_gb, precision
        As in ``prh.core.neighbours.nearest``.
    kernels : bool
        Whether ``layers`` are kernels.

    Returns
    -------
    Representation
        Of the queries, with neighbours only. Ties are broken by an order of all N samples, so that a larger gallery
        keeps the order of a smaller one.
    """
    settings = {"numbers": gallery, "precision": precision, "device": device, "memory_gb": memory_gb}
    search = _nearest_by_kernel if kernels else _nearest
    neighbours = [
        None
        if layer is None
        else search(layer, gallery, queries, k, f"{name}, layer {number}", key=key_of(name, number), **settings)
        for number, layer in enumerate(layers)
    ]
    tables, ties = ([layer and getattr(layer, part) for layer in neighbours] for part in ("indices", "ties"))
    return Representation(name, neighbours=tables, ties=ties, gallery=len(gallery))


def _nearest(layer: Any, gallery: np.ndarray, queries: int, k: int, name: str, **settings: Any) -> Neighbours | None:
    """Neighbours of the first ``queries`` samples of a gallery; None if the layer is constant over the gallery."""
    from prh.core.float32 import as_matrix
    from prh.core.neighbours import nearest
    from prh.core.preparation import is_constant

    part = as_matrix(layer[gallery], name, settings["device"])
    if is_constant(part):
        return None
    return nearest(part[:queries], k, gallery=part, own=np.arange(queries), **settings)


def _nearest_by_kernel(
    kernel: Any, gallery: np.ndarray, queries: int, k: int, name: str, **settings: Any
) -> Neighbours | None:
    """The same from the kernel of a layer."""
    from prh.core.kernel_inputs import as_kernel, is_constant_kernel
    from prh.core.kernel_neighbours import nearest_by_kernel

    if kernel.shape[0] != kernel.shape[-1]:
        raise ValueError(f"{name} has shape {list(kernel.shape)}; a kernel must be square.")
    part = as_kernel(kernel[gallery][:, gallery], name, settings["device"])
    return None if is_constant_kernel(part) else nearest_by_kernel(part[:queries], k, **settings)
