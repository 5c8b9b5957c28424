"""Alignment as a curve over the number of samples n: the same queries in growing galleries.

One score at one (n, k) says little: at fixed k it falls as n grows, by chance level and by what "near" means
(Koepke et al. 2026, arXiv:2604.18572). So sweep both, and read raw beside calibrated scores. A curve over k needs
nothing of its own: every k is read from the same lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prh.core.metrics import METRICS, Representation
from prh.core.preparation import Precision
from prh.core.ties import key_of


def can_sweep(metric: str) -> bool:
    """Whether ``metric`` reads each sample's own list of neighbours only, so that queries can differ from gallery."""
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
    """A model seen by the first ``queries`` samples of ``gallery`` (indices), with ``k`` neighbours out of all of it.

    ``layers``: floating [N, d], prepared; None for a layer that is left out, as is one that is the same for all of the
    gallery. The order of equally near samples is one of all N, so that a larger gallery keeps that of a smaller one.
    """
    from prh.core.float32 import as_matrix
    from prh.core.neighbours import nearest
    from prh.core.preparation import is_constant

    settings = {"own": np.arange(queries), "numbers": gallery, "precision": precision, "device": device}
    found = []
    for number, layer in enumerate(layers):
        part = None if layer is None else as_matrix(layer[gallery], f"{name}, layer {number}", device)
        if part is None or is_constant(part):
            found.append(None)
            continue
        key = key_of(name, number)
        found.append(nearest(part[:queries], k, gallery=part, key=key, memory_gb=memory_gb, **settings))
    tables, ties = ([one and getattr(one, part) for one in found] for part in ("indices", "ties"))
    return Representation(name, neighbours=tables, ties=ties, gallery=len(gallery))
