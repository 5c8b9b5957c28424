"""Alignment as a function of the number of samples n: the same queries are searched in growing galleries.

A score at a single (n, k) is hard to interpret: at fixed k it falls as n grows, because the chance level falls and
because "near" comes to mean nearer (Koepke et al. 2026, arXiv:2604.18572). So sweep both, and compare raw with
calibrated scores. A curve over k needs no code here: every k is read from the same lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prh.core.metrics import METRICS, Representation
from prh.core.preparation import Precision
from prh.core.ties import key_of


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
) -> Representation:
    """The ``k`` neighbours of some samples of a model in a gallery that contains them.

    Parameters
    ----------
    name : str
        Name of the model.
    layers : sequence of floating [N, d]
        Prepared layers; None for one that is left out. Layers that are constant over the gallery are left out too.
    gallery : int [m]
        Indices of the gallery among the N samples.
    queries : int
        The first so many samples of the gallery are the queries.
    k : int
        Number of neighbours.
    device, memory_gb, precision
        As in ``prh.core.neighbours.nearest``.

    Returns
    -------
    Representation
        Of the queries, with neighbours only. Ties are broken by an order of all N samples, so that a larger gallery
        keeps the order of a smaller one.
    """
    from prh.core.float32 import as_matrix
    from prh.core.neighbours import nearest
    from prh.core.preparation import is_constant

    settings = {"own": np.arange(queries), "numbers": gallery, "precision": precision, "device": device}
    neighbours = []
    for number, layer in enumerate(layers):
        part = None if layer is None else as_matrix(layer[gallery], f"{name}, layer {number}", device)
        if part is None or is_constant(part):
            neighbours.append(None)
            continue
        key = key_of(name, number)
        neighbours.append(nearest(part[:queries], k, gallery=part, key=key, memory_gb=memory_gb, **settings))
    tables, ties = ([layer and getattr(layer, part) for layer in neighbours] for part in ("indices", "ties"))
    return Representation(name, neighbours=tables, ties=ties, gallery=len(gallery))
