"""Scores of all layer pairs of two models, and the best of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from prh.core.metrics import METRICS, Metric, Representation


def scores(x: Representation, y: Representation, metric: str | Metric, k: int | None = None) -> np.ndarray:
    """Scores of all layer pairs: float64 [L_x, L_y], NaN where a layer is left out (the same for all samples).

    Raises ValueError for an unknown metric, unequal n, k >= n, and any other score that is not a number, naming the
    layer pair.
    """
    metric = metric_called(metric)
    with precision_of(metric):
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


def metric_called(metric: str | Metric) -> Metric:
    """The metric of that name, or itself; ValueError for a name that there is none of."""
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"there is no metric {metric!r}; there are {', '.join(sorted(METRICS))}.")
    return METRICS[metric]


def precision_of(metric: Metric) -> AbstractContextManager:
    """Full float32 for the products of a metric, where it takes any."""
    if metric.needs == "neighbours":
        return nullcontext()
    from prh.core.float32 import full_float32  # imports torch, which a comparison of neighbour tables never needs

    return full_float32()
