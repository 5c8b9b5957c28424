"""How far the best score of two models can be trusted: null of the maximum, intervals, cross-fitted score.

The best of about 1,000 layer pairs scores high partly by chance and partly because it was selected. The functions here
measure both effects from the same tables.
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
    """Maximum over layer pairs for each random order of the samples of y: float64 [permutations].

    All layers of y are permuted in the same way. Neighbours are not searched again but mapped: inverse[knn[order]].
    Raises ValueError if ``groups`` allow too few orders.
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
    """Confidence interval (low, high) of the ``score`` of one layer pair; None if the score does not vary.

    It covers the variation of the score over other samples of the same number, with the layer pair held fixed
    (``prh.core.intervals``). With ``groups``, whole groups are drawn. For a pair that was selected as the best, pass
    the ``optimism`` from ``crossfit``.
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
    """Variance of the score of a layer pair over draws of the samples; ValueError for fewer than 2 ``subsamples``."""
    if subsamples < 2:
        raise ValueError(f"subsamples is {subsamples}; a variance needs at least 2, and about 100 to be reliable.")
    layer_x, layer_y = x.layer(layers[0]), y.layer(layers[1])
    with precision_of(metric):
        return intervals.spread(
            layer_x, layer_y, metric, k, lambda *half: scores(*half, metric, k)[0, 0], subsamples, rng, groups
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

    The layer pair is selected on one half and scored on the other, in both directions, so that the score does not
    benefit from the selection. The optimism is the excess of the score on the selecting half. Both hold for n / 2
    samples, where k neighbours reach further than among n: compare the score with other cross-fitted scores, not with
    ``best``.

    A layer that is constant on one half is left out of that split. Returns (None, None) if no split has a layer pair.
    """
    held_out, selected = [], []
    for _ in range(splits):
        halves = np.stack(
            [scores(x.subset(half), y.subset(half), metric, k) for half in intervals.halves(rng, x.n, groups)]
        )
        halves[:, np.isnan(halves).any(axis=0)] = np.nan
        if np.isnan(halves).all():
            continue
        for chosen_on, scored_on in (halves, halves[::-1]):
            best, layers = best_pair(chosen_on)
            selected.append(best)
            held_out.append(scored_on[layers])
    if not held_out:
        return None, None
    return float(np.mean(held_out)), float(np.mean(selected) - np.mean(held_out))


def random_order(rng: np.random.Generator, y: Representation, groups: np.ndarray | None) -> np.ndarray:
    """A random order of the gallery that keeps queries among queries, as only their neighbours are known."""
    queries, rest = (None, None) if groups is None else (groups[: y.n], groups[y.n :])
    order = calibration.permutation(rng, y.n, queries)
    return np.concatenate([order, y.n + calibration.permutation(rng, y.gallery - y.n, rest)])
