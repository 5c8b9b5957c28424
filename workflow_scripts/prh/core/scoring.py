"""Scores of all layer pairs of two models, and the best of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from prh.core.metrics import METRICS, Metric, Representation


def scores(x: Representation, y: Representation, metric: str | Metric, k: int | None = None) -> np.ndarray:
    """Scores of all layer pairs: float64 [L_x, L_y], NaN where a layer is left out because it is constant.

    Raises ValueError for an unknown metric, unequal n or k >= n; and, naming the layer pair, for any other score that
    is NaN.
    """
    metric = metric_called(metric)
    with precision_of(metric):
        result = np.asarray(metric.scores(x, y, k), np.float64)
    unexpected = np.argwhere(np.isnan(result[np.ix_(x.places, y.places)]))
    if len(unexpected):
        i, j = x.numbers[x.places[unexpected[0, 0]]], y.numbers[y.places[unexpected[0, 1]]]
        raise ValueError(
            f"{metric.name} of {x.name} layer {i} and {y.name} layer {j} is not a number; "
            "the rank of a layer may be too low for this metric: leave it out or fix its features."
        )
    return result


def best_pair(scores: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The largest of ``scores`` [L_x, L_y] and its layer pair (x, y); among equal scores the lowest pair, x first.

    NaN (a layer is left out) is skipped. Raises ValueError if all scores are NaN.
    """
    if np.isnan(scores).all():
        raise ValueError("no layer pair has a score: all layers of one model are constant over the samples.")
    i, j = np.unravel_index(np.nanargmax(scores), scores.shape)
    return float(scores[i, j]), (int(i), int(j))


def metric_called(metric: str | Metric) -> Metric:
    """The metric registered under a name; a ``Metric`` is returned as it is. Raises ValueError for an unknown name."""
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"there is no metric {metric!r}; choose one of {', '.join(sorted(METRICS))}.")
    return METRICS[metric]


def precision_of(metric: Metric) -> AbstractContextManager:
    """A context in which the products of a metric are computed in full float32, if it computes any."""
    if metric.needs == "neighbours":
        return nullcontext()
    from prh.core.float32 import full_float32  # imports torch, which comparing neighbour tables does not need

    return full_float32()
