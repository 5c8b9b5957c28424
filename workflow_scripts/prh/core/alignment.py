"""Alignment of two models: scores of all layer pairs, the best one, and how far it can be trusted.

The best of ~1,000 layer pairs is high by chance and by choice. Four numbers say how high, each from the same tables:
the permutation null of the maximum (``calibration``), the interval by subsampling, the cross-fitted score, and the
optimism of the maximum. See ``Alignment``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from prh.core import calibration
from prh.core.metrics import METRICS, Metric, Representation
from prh.core.preparation import device_of, prepare

__all__ = [
    "Alignment",
    "Representation",
    "align",
    "best_pair",
    "compare",
    "crossfit",
    "interval",
    "null_maxima",
    "prepare",
    "scores",
]


@dataclass(frozen=True)
class Alignment:
    """How much two models agree, and how far that can be trusted.

    scores : float64 [L_x, L_y], one per layer pair; NaN for pairs with a layer that is left out.
    best, layers : the largest score and its layer pair (x, y); the lowest pair among equals.
    null : float64 [K], maxima over layer pairs of permuted samples; None without permutations, as the next three.
    threshold : the score that chance exceeds with probability alpha.
    p : the p-value of ``best``.
    calibrated : max((best - threshold) / (1 - threshold), 0); None also where the metric can exceed 1.
    ties : (of x, of y) share of samples whose k-th and (k+1)-th neighbours are equally near, in ``layers``: there
        chance decides, not the model (``prh.core.ties``). None without k, or with tables that do not say.
    interval : (low, high) for the score of ``layers`` (see ``interval``); None without subsamples, or where a layer is
        the same for all samples of a half.
    crossfitted, optimism : see ``crossfit``; None without splits, or where halves leave no layer pair to compare.
    left_out : (of x, of y) numbers of the layers that are the same for all samples and take no part.
    """

    metric: str
    k: int | None
    n: int
    scores: np.ndarray
    best: float
    layers: tuple[int, int]
    null: np.ndarray | None = None
    threshold: float | None = None
    p: float | None = None
    calibrated: float | None = None
    interval: tuple[float, float] | None = None
    crossfitted: float | None = None
    optimism: float | None = None
    ties: tuple[float, float] | None = None
    left_out: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


def scores(x: Representation, y: Representation, metric: str | Metric, k: int | None = None) -> np.ndarray:
    """Scores of all layer pairs: float64 [L_x, L_y], NaN where a layer is left out (the same for all samples).

    Raises ValueError for an unknown metric, unequal n, k >= n, and any other score that is not a number, naming the
    layer pair.
    """
    metric = _metric(metric)
    with nullcontext() if metric.needs == "neighbours" else _full_float32():
        result = np.asarray(metric.scores(x, y, k), np.float64)
    unexpected = np.argwhere(np.isnan(result[np.ix_(x.places, y.places)]))
    if len(unexpected):
        i, j = x.numbers[x.places[unexpected[0, 0]]], y.numbers[y.places[unexpected[0, 1]]]
        raise ValueError(
            f"{metric.name} of {x.name} layer {i} and {y.name} layer {j} is not a number; "
            "a layer may be too low in rank for this metric: leave it out or mend its features."
        )
    return result


def best_pair(scores: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The largest of ``scores`` [L_x, L_y] and its layer pair (x, y), the lowest pair (x first) among equals.

    NaN, of pairs with a layer that is left out, never wins; ValueError if there is nothing else.
    """
    if np.isnan(scores).all():
        raise ValueError("no layer pair has a score: the layers of one side are the same for all samples.")
    i, j = np.unravel_index(np.nanargmax(scores), scores.shape)
    return float(scores[i, j]), (int(i), int(j))


def align(
    layers_x: Any,
    layers_y: Any,
    metric: str = "mutual_knn",
    k: int = 10,
    permutations: int = 0,
    seed: int = 0,
    device: str | None = None,
    memory_gb: float = 2.0,
    **options: Any,
) -> Alignment:
    """Align two models given as their layers; ``compare`` on two ``Representation`` objects made of them.

    Nothing is prepared: layers are compared as they are. Call ``prepare`` on both first to follow the paper.

    Parameters
    ----------
    layers_x, layers_y : floating [n, d], or a sequence of them
        One layer or all layers of a model; rows are the same samples in the same order. Layers that are the same for
        all samples are left out. Equally near samples stand in an order that is drawn for each side and layer, the same
        in every call (``prh.core.ties``): where there are many, a model does not even agree with itself.
    metric : str
        A name in ``prh.core.metrics.METRICS``.
    k : int
        Number of neighbours, for the metrics that look at them.
    permutations : int
        Size of the permutation null; 0 for none.
    seed : int
        Makes it repeatable.
    device : str, optional
        torch device of the products; by default where the first tensor among the layers lies, "cpu" for arrays.
    memory_gb : float
        Bound on what one step of a computation holds beside its inputs and its result.
    **options
        As in ``compare``: groups, alpha, subsamples, splits.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 8)).astype("float32")
    >>> found = align([x, x**3], [-x], permutations=99)
    >>> found.layers, found.best, found.p
    ((0, 0), 1.0, 0.01)
    """
    layers = {"x": _as_list(layers_x), "y": _as_list(layers_y)}
    place = {"device": device or device_of(*layers["x"], *layers["y"]), "memory_gb": memory_gb}
    x, y = (Representation(name, side, **place) for name, side in layers.items())
    return compare(x, y, metric, k, permutations=permutations, seed=seed, **options)


def compare(
    x: Representation,
    y: Representation,
    metric: str = "mutual_knn",
    k: int | None = 10,
    *,
    permutations: int = 0,
    groups: np.ndarray | None = None,
    alpha: float = 0.05,
    subsamples: int = 0,
    splits: int = 0,
    seed: int = 0,
) -> Alignment:
    """Alignment of two representations. What belongs to ``x`` alone is kept in it, ready for the next ``y``.

    Parameters
    ----------
    x, y : Representation
        The models, on the same samples in the same order.
    metric : str
        A name in ``prh.core.metrics.METRICS``.
    k : int
        Number of neighbours, for the metrics that look at them.
    permutations : int
        Size K of the permutation null of the maximum over layer pairs; 0 for none.
    groups : array [n], optional
        Names the group of each sample where samples are not independent of each other: groups are then permuted, drawn
        and split as wholes (``prh.core.calibration.permutation``). Of the whole gallery, where that is larger.
    alpha : float
        Level of the threshold and of the interval.
    subsamples : int
        Number of half-samples for the interval; 0 for none, 100 is plenty.
    splits : int
        Number of random splits for the cross-fitted score and the optimism; 0 for none, 10 is plenty.
    seed : int
        Of all of these; each draws from a stream of its own, so that asking for one does not change another.
    """
    if min(permutations, splits) < 0:
        raise ValueError(f"permutations is {permutations} and splits {splits}; neither must be negative (0: none).")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    groups = None if groups is None else calibration.numbered(groups, x.gallery)
    traits = _metric(metric)
    k = k if traits.needs_k else None
    table = scores(x, y, traits, k)
    best, layers = best_pair(table)
    found: dict[str, Any] = {"ties": _ties(x, y, k, layers), "left_out": (x.left_out, y.left_out)}
    streams = [np.random.default_rng([seed, stream]) for stream in range(3)]
    if permutations:
        null = null_maxima(x, y, traits, k, permutations, streams[0], groups)
        tau = calibration.threshold(best, null, alpha)
        found |= {"null": null, "threshold": tau, "p": calibration.p_value(best, null)}
        if traits.bounded:
            found["calibrated"] = calibration.calibrated(best, tau, bounded=True)
    if subsamples:
        ends = interval(x, y, traits, k, layers, best, subsamples, streams[1], groups, alpha)
        found["interval"] = None if np.isnan(ends).any() else ends
    if splits:
        found["crossfitted"], found["optimism"] = crossfit(x, y, traits, k, splits, streams[2], groups)
    return Alignment(traits.name, k, x.gallery, table, best, layers, **found)


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
    orders = (_order(rng, y, groups) for _ in range(permutations))
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
) -> tuple[float, float]:
    """Confidence interval of the score of one given layer pair, from random halves of the samples.

    Rows must not be bootstrapped: a sample drawn twice is its own nearest neighbour in both models and lifts every
    score of neighbours. The delete-half jackknife draws half of the samples *without* replacement. With d of n samples
    left out, (n - d) / d times the variance of these scores estimates that of the full score, and the factor is 1 here
    (Shao and Wu 1989; Politis, Romano and Wolf 1999). Only their spread is used: their mean is that of a score at
    n / 2, where k neighbours reach further. The interval is the score -+ z sd.

    It is about the sampling of stimuli, for a layer pair held fixed; what the choice of the pair adds, ``crossfit``
    says. With ``groups``, whole groups are drawn.
    """
    if subsamples < 2:
        raise ValueError(f"subsamples is {subsamples}; a spread needs at least 2, and a hundred to be steady.")
    one_x, one_y = x.layer(layers[0]), y.layer(layers[1])
    drawn = (_halves(rng, x.n, groups)[0] for _ in range(subsamples))
    values = [scores(one_x.subset(half), one_y.subset(half), metric, k)[0, 0] for half in drawn]
    margin = NormalDist().inv_cdf(1 - alpha / 2) * np.std(values, ddof=1)
    return float(score - margin), float(score + margin)


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
        halves = np.stack([scores(x.subset(half), y.subset(half), metric, k) for half in _halves(rng, x.n, groups)])
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


def _ties(x: Representation, y: Representation, k: int | None, layers: tuple[int, int]) -> tuple[float, float] | None:
    shares = [None if k is None else side.ties(k) for side in (x, y)]
    if any(share is None for share in shares):
        return None
    return float(shares[0][layers[0]]), float(shares[1][layers[1]])


def _order(rng: np.random.Generator, y: Representation, groups: np.ndarray | None) -> np.ndarray:
    """A random order of all samples of the gallery in which queries stay among queries, whose neighbours are known."""
    queries, rest = (None, None) if groups is None else (groups[: y.n], groups[y.n :])
    order = calibration.permutation(rng, y.n, queries)
    return np.concatenate([order, y.n + calibration.permutation(rng, y.gallery - y.n, rest)])


def _halves(rng: np.random.Generator, n: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of n samples, each in ascending order; with groups, halves of the groups."""
    labels = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(labels.max()) + 1
    first = np.isin(labels, rng.permutation(count)[: count // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def _metric(metric: str | Metric) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"there is no metric {metric!r}; there are {', '.join(sorted(METRICS))}.")
    return METRICS[metric]


def _full_float32() -> AbstractContextManager:
    from prh.core.neighbours import full_float32  # imports torch, which a comparison of neighbour tables never needs

    return full_float32()


def _as_list(layers: Any) -> Sequence[Any]:
    return layers if isinstance(layers, (list, tuple)) else [layers]
