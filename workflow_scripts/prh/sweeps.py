"""Alignment as a curve: over the number of neighbours k, over the number of samples n, and between metrics.

One score at one (n, k) says little: at fixed k it falls as n grows, by chance level and by what "near" means
(Koepke et al. 2026, arXiv:2604.18572). So sweep both, and read raw beside calibrated scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from prh.alignment import Alignment, compare
from prh.metrics import METRICS, Representation


class RankCorrelations(NamedTuple):
    """names: the metrics; rho, p: Spearman correlations and their p-values, float64 [metrics, metrics]."""

    names: list[str]
    rho: np.ndarray
    p: np.ndarray


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
    if METRICS[metric].needs != "neighbours" or metric == "cycle_knn":
        raise ValueError(f"{metric} needs more than each query's own neighbours; sweep it over subsamples instead.")
    if not queries <= min(sizes) or not max(sizes) <= total:
        raise ValueError(f"sizes are {list(sizes)}; with {queries} queries of {total} samples, they must lie between.")
    order = np.random.default_rng(seed).permutation(total)
    found = []
    for size in sizes:
        counts = [k if isinstance(k, int) else max(1, round(k * size)) for k in ks]
        x, y = (
            _queries_in_gallery(name, layers, order[:size], queries, max(counts), device, memory_gb)
            for name, layers in (("x", layers_x), ("y", layers_y))
        )
        found += [compare(x, y, metric, k, seed=seed, **options) for k in counts]
    return found


def between_metrics(scores: Mapping[str, np.ndarray]) -> RankCorrelations:
    """Spearman rank correlation between metrics over model pairs: do they order the pairs alike?

    Parameters
    ----------
    scores : mapping of str to float [pairs]
        The best score of each model pair under each metric, pairs in the same order; at least two metrics, three pairs.
    """
    from scipy.stats import spearmanr

    names, table = list(scores), np.stack([np.asarray(values, float) for values in scores.values()], axis=1)
    if table.ndim != 2 or table.shape[0] < 3 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError("ranks need finite scores of at least 3 model pairs under at least 2 metrics.")
    upper = np.triu_indices(len(names), 1)
    rho, p = np.eye(len(names)), np.zeros((len(names), len(names)))
    for i, j in zip(*upper, strict=True):
        rho[i, j], p[i, j] = rho[j, i], p[j, i] = spearmanr(table[:, i], table[:, j])
    return RankCorrelations(names, rho, p)


def _queries_in_gallery(
    name: str, layers: Sequence[Any], gallery: np.ndarray, queries: int, k: int, device: str, memory_gb: float
) -> Representation:
    from prh.neighbours import nearest

    own = np.arange(queries)
    tables = [
        nearest(part[:queries], k, gallery=part, own=own, device=device, memory_gb=memory_gb).indices
        for part in (layer[gallery] for layer in layers)
    ]
    return Representation(name, neighbours=tables, gallery=len(gallery))
