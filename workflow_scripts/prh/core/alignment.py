"""Alignment of two models: scores of all layer pairs, the best one, and how far it can be trusted.

The best of ~1,000 layer pairs is high by chance and by choice. Four numbers say how high, each from the same tables:
the permutation null of the maximum (``calibration``), the interval (``intervals``), the cross-fitted score, and the
optimism of the maximum. See ``Alignment``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prh.core import calibration, intervals
from prh.core.evidence import crossfit, null_maxima, spread_of
from prh.core.metrics import Representation
from prh.core.preparation import device_of
from prh.core.scoring import best_pair, metric_called, scores


@dataclass(frozen=True)
class Alignment:
    """How much two models agree, and how far that can be trusted.

    Attributes
    ----------
    metric, k, n
        The metric, its number of neighbours (None if it looks at none), and the number of samples.
    scores : float64 [L_x, L_y]
        One per layer pair; NaN for pairs with a layer that is left out.
    best, layers : float, (int, int)
        The largest score and its layer pair (x, y); the lowest pair among equals.
    null : float64 [K], optional
        Maxima over layer pairs of permuted samples; None without permutations, as the next three.
    threshold : float, optional
        The score that chance exceeds with probability alpha.
    p : float, optional
        The p-value of ``best``, between 1 / (K + 1) and 1.
    calibrated : float, optional
        max((best - threshold) / (1 - threshold), 0), from 0 to 1; None also where the metric can exceed 1.
    interval : (float, float), optional
        (low, high) for the score of ``layers``, as if these had been named beforehand (``prh.core.intervals``); None
        without subsamples, where nothing varies, or where a layer is the same for all samples of a half.
    chosen_interval : (float, float), optional
        The same knowing that ``layers`` were chosen because they score best; None without splits too.
    crossfitted, optimism : float, optional
        See ``crossfit``; None without splits, or where halves leave no layer pair to compare.
    ties : (float, float), optional
        Of x and of y the share of samples whose k-th and (k+1)-th neighbours are equally near, in ``layers``: there
        chance decides, not the model (``prh.core.ties``). None without k, or with tables that do not say.
    left_out : (tuple of int, tuple of int)
        Of x and of y the numbers of the layers that are the same for all samples and take no part.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 8)).astype("float32")
    >>> alignment = align(x, x, k=5)
    >>> alignment.best, alignment.scores.shape, alignment.p is None
    (1.0, (1, 1), True)
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
    chosen_interval: tuple[float, float] | None = None
    crossfitted: float | None = None
    optimism: float | None = None
    ties: tuple[float, float] | None = None
    left_out: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


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

    Returns
    -------
    Alignment
        Of all layer pairs, the best one, and the evidence that was asked for.

    Raises
    ------
    ValueError
        What ``Representation`` and ``compare`` refuse.

    Examples
    --------
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
        Level of the threshold and of the intervals.
    subsamples : int
        0 for no interval. Else the number of half-samples for those metrics whose interval takes any; 100 is plenty.
    splits : int
        Number of random splits for the cross-fitted score and the optimism; 0 for none, 10 is plenty.
    seed : int
        Of all of these; each draws from a stream of its own, so that asking for one does not change another.

    Returns
    -------
    Alignment
        Of all layer pairs, the best one, and the evidence that was asked for.

    Raises
    ------
    ValueError
        An unknown metric, unequal n, k >= n, two models of one name that hold ties, a number that is out of its range,
        a score that is not a number, or groups that cannot be permuted.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 8)).astype("float32")
    >>> first, second = Representation("first", [x]), Representation("second", [x + rng.normal(size=(60, 8))])
    >>> alignment = compare(first, second, "cka", permutations=99, subsamples=20)
    >>> alignment.p, alignment.interval[0] < alignment.best < alignment.interval[1]
    (0.01, True)
    """
    if min(permutations, splits) < 0:
        raise ValueError(f"permutations is {permutations} and splits {splits}; neither must be negative (0: none).")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    groups = None if groups is None else calibration.numbered(groups, x.gallery)
    traits = metric_called(metric)
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
    if splits:
        found["crossfitted"], found["optimism"] = crossfit(x, y, traits, k, splits, streams[2], groups)
    if subsamples:
        spread = spread_of(x, y, traits, k, layers, subsamples, streams[1], groups)
        found["interval"] = intervals.ends(best, spread, alpha, bounded=traits.bounded)
        optimism = found.get("optimism")
        if optimism is not None:
            found["chosen_interval"] = intervals.ends(best, spread, alpha, bounded=traits.bounded, optimism=optimism)
    return Alignment(traits.name, k, x.gallery, table, best, layers, **found)


def _ties(x: Representation, y: Representation, k: int | None, layers: tuple[int, int]) -> tuple[float, float] | None:
    shares = [None if k is None else side.ties(k) for side in (x, y)]
    if any(share is None for share in shares):
        return None
    return float(shares[0][layers[0]]), float(shares[1][layers[1]])


def _as_list(layers: Any) -> Sequence[Any]:
    return layers if isinstance(layers, (list, tuple)) else [layers]
