"""Alignment as a curve: over the number of neighbours k, and over the number of samples n.

One score at one (n, k) says little: at fixed k it falls as n grows, by chance level and by what "near" means
(Koepke et al. 2026, arXiv:2604.18572). So sweep both, and read raw beside calibrated scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prh.alignment import Alignment, compare
from prh.metrics import METRICS, Representation


def over_k(
    x: Representation, y: Representation, ks: Sequence[int], metric: str = "mutual_knn", **options: Any
) -> list[Alignment]:
    """``compare`` at each k of ``ks``, from one search for the deepest; ``options`` are those of ``compare``."""
    for side in (x, y):
        side.knn(max(ks))
    return [compare(x, y, metric, k, **options) for k in ks]


def over_n(
    layers_x: Sequence[np.ndarray],
    layers_y: Sequence[np.ndarray],
    sizes: Sequence[int],
    ks: Sequence[int | float],
    *,
    queries: int = 1024,
    metric: str = "mutual_knn",
    seed: int = 0,
    device: str = "cpu",
    memory_gb: float = 2.0,
    **options: Any,
) -> list[Alignment]:
    """Fixed queries, a growing gallery: one Alignment per (size, k), sizes first, with ``n`` the size of the gallery.

    Parameters
    ----------
    layers_x, layers_y : sequences of floating [N, d]
        All layers of the two models, prepared.
    sizes : sequence of int
        Sizes of the gallery, from ``queries`` to N. Galleries are nested: each holds all smaller ones, and the queries.
    ks : sequence of int or float
        Numbers of neighbours; a float below 1 is a share of the gallery (0.01: n / 100).
    queries : int
        The first so many samples of a random order are the queries, at every size.
    metric : str
        One that reads each sample's own list of neighbours: mutual_knn, jaccard_knn, lcs_knn, edit_distance_knn.
    seed, device, memory_gb
        Of the order of samples; of the search for neighbours.
    **options
        Those of ``compare`` that permute: permutations, alpha.
    """
    total = len(layers_x[0])
    if not can_sweep(metric):
        raise ValueError(f"{metric} needs more than each query's own neighbours; sweep it over subsamples instead.")
    if not queries <= min(sizes) or not max(sizes) <= total:
        raise ValueError(f"sizes are {list(sizes)}; with {queries} queries of {total} samples, they must lie between.")
    order = np.random.default_rng(seed).permutation(total)
    found = []
    for size in sizes:
        counts = [k if isinstance(k, int) else max(1, round(k * size)) for k in ks]
        x, y = (
            in_gallery(name, layers, order[:size], queries, max(counts), device, memory_gb)
            for name, layers in (("x", layers_x), ("y", layers_y))
        )
        found += [compare(x, y, metric, k, seed=seed, **options) for k in counts]
    return found


def can_sweep(metric: str) -> bool:
    """Whether ``metric`` reads each sample's own list of neighbours only, so that queries can differ from gallery."""
    return METRICS[metric].needs == "neighbours" and metric != "cycle_knn"


def in_gallery(
    name: str,
    layers: Sequence[Any],
    gallery: np.ndarray,
    queries: int,
    k: int,
    device: str = "cpu",
    memory_gb: float = 2.0,
) -> Representation:
    """A model seen by the first ``queries`` samples of ``gallery`` (indices), with ``k`` neighbours out of all of it.

    ``layers``: floating [N, d], prepared.
    """
    from prh.neighbours import nearest

    own = np.arange(queries)
    found = [
        nearest(part[:queries], k, gallery=part, own=own, device=device, memory_gb=memory_gb)
        for part in (layer[gallery] for layer in layers)
    ]
    tables, ties = ([getattr(one, part) for one in found] for part in ("indices", "ties"))
    return Representation(name, neighbours=tables, ties=ties, gallery=len(gallery))
