"""How far the best score of two models can be trusted: null of the maximum, intervals, cross-fitted score.

The best of ~1,000 layer pairs is high by chance and by choice. Each of these says by how much, from the same tables.
"""

from __future__ import annotations

import numpy as np

from prh.core import calibration, intervals
from prh.core.metrics import Metric, Representation
from prh.core.scoring import best_pair, metric_called, precision_of, scores


def null_maxima(
    x: Representation,
    y: Representation,
    metric: str | Metric,
    k: int | None,
    permutations: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Maxima over layer pairs after permuting the samples of y, alike in all its layers: float64 [permutations].

    Neighbours are moved by an index map, inverse[knn[order]], never searched again.
    """
    if groups is not None:
        calibration.require_exchangeable(groups[: y.n], permutations)
    orders = (random_order(rng, y, groups) for _ in range(permutations))
    return np.array([np.nanmax(scores(x, y.reordered(order), metric, k)) for order in orders])


def interval(
    x: Representation,
    y: Representation,
    metric: str | Metric,
    k: int | None,
    layers: tuple[int, int],
    score: float,
    subsamples: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    alpha: float = 0.05,
    optimism: float = 0.0,
) -> tuple[float, float] | None:
    """Confidence interval of the score of one given layer pair, or None (``prh.core.intervals``).

    It is about the sampling of stimuli, for a layer pair held fixed, and about the score at as many samples. With
    ``groups``, whole groups are drawn. The ``optimism`` of ``crossfit`` makes it one of a chosen layer pair.
    """
    spread = spread_of(x, y, metric_called(metric), k, layers, subsamples, rng, groups)
    return intervals.ends(score, spread, alpha, bounded=metric_called(metric).bounded, optimism=optimism)


def spread_of(
    x: Representation,
    y: Representation,
    metric: Metric,
    k: int | None,
    layers: tuple[int, int],
    subsamples: int,
    rng: np.random.Generator,
    groups: np.ndarray | None,
) -> intervals.Spread:
    """Variance of the score of a layer pair over draws of the samples."""
    if subsamples < 2:
        raise ValueError(f"subsamples is {subsamples}; a spread needs at least 2, and a hundred to be steady.")
    one_x, one_y = x.layer(layers[0]), y.layer(layers[1])
    with precision_of(metric):
        return intervals.spread(
            one_x, one_y, metric, k, lambda *half: scores(*half, metric, k)[0, 0], subsamples, rng, groups
        )


def crossfit(
    x: Representation,
    y: Representation,
    metric: str | Metric,
    k: int | None,
    splits: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> tuple[float, float] | tuple[None, None]:
    """(cross-fitted score, optimism of the maximum), averaged over random splits of the samples into halves.

    The layer pair is chosen on one half and scored on the other, both ways: a score that does not profit from the
    choice. The optimism is what the choosing half promised beyond that. Both are at n / 2 samples, where k neighbours
    reach further than at n: compare the score with other cross-fitted scores, not with ``best``.

    A layer that is the same for all samples of one half takes no part in that split. (None, None) if no split leaves
    a layer pair.
    """
    honest, promised = [], []
    for _ in range(splits):
        halves = np.stack(
            [scores(x.subset(half), y.subset(half), metric, k) for half in intervals.halves(rng, x.n, groups)]
        )
        halves[:, np.isnan(halves).any(axis=0)] = np.nan
        if np.isnan(halves).all():
            continue
        for chosen_on, scored_on in (halves, halves[::-1]):
            best, layers = best_pair(chosen_on)
            promised.append(best)
            honest.append(scored_on[layers])
    if not honest:
        return None, None
    return float(np.mean(honest)), float(np.mean(promised) - np.mean(honest))


def random_order(rng: np.random.Generator, y: Representation, groups: np.ndarray | None) -> np.ndarray:
    """A random order of all samples of the gallery in which queries stay among queries, whose neighbours are known."""
    queries, rest = (None, None) if groups is None else (groups[: y.n], groups[y.n :])
    order = calibration.permutation(rng, y.n, queries)
    return np.concatenate([order, y.n + calibration.permutation(rng, y.gallery - y.n, rest)])
