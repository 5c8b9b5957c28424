"""Alignment of two models: scores of all layer pairs, the best one, and how far it can be trusted.

The best of about 1,000 layer pairs scores high partly by chance and partly because it was selected. Four results say by
how much, all computed from the same tables: the permutation null of the maximum (``calibration``), the confidence
interval (``intervals``), the cross-fitted score, and the optimism of the maximum. See ``PairAlignment``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from prh.core import calibration, intervals
from prh.core.evidence import crossfit, null_maxima, spread_of
from prh.core.metrics import Representation
from prh.core.preparation import device_of
from prh.core.scoring import best_pair, metric_called, scores


@dataclass(frozen=True)
class PairAlignment:
    """How much two models agree, and how far that can be trusted.

    Attributes
    ----------
    metric, k, n
        Name of the metric, its number of neighbours (None if it uses none), and the number of samples.
    scores : float64 [L_x, L_y]
        One per layer pair; NaN where either layer is left out.
    best, layers : float, (int, int)
        The largest score and its layer pair (x, y); among equal scores, the pair with the lowest layer numbers.
    null : float64 [K], optional
        Maximum over layer pairs for each permutation of the samples. None without permutations, like ``threshold``,
        ``p`` and ``calibrated``.
    threshold : float, optional
        The score that unrelated models exceed with probability alpha.
    p : float, optional
        The p-value of ``best``, between 1 / (K + 1) and 1.
    calibrated : float, optional
        max((best - threshold) / (1 - threshold), 0), from 0 to 1; also None for a metric that can exceed 1.
    interval : (float, float), optional
        Confidence interval (low, high) of the score of ``layers``, as if that pair had been fixed beforehand
        (``prh.core.intervals``). None without subsamples, if the score does not vary, or if a layer is constant on one
        half of the samples.
    chosen_interval : (float, float), optional
        The same interval, corrected for ``layers`` having been selected as the best pair. Also None without splits.
    crossfitted, optimism : float, optional
        See ``crossfit``; None without splits, or if no split has a layer pair to compare.
    ties : (float, float), optional
        For x and for y, the share of samples whose k-th and (k+1)-th neighbours are equally near in ``layers``, so that
        the choice between them is random (``prh.core.ties``). None without k, or if the tables do not record ties.
    left_out : (tuple of int, tuple of int)
        For x and for y, the numbers of the layers that are constant over the samples and therefore not compared.

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

    def swapped(self) -> PairAlignment:
        """The same result of a symmetric metric with x called y, and y called x."""
        return replace(
            self,
            scores=self.scores.T,
            layers=self.layers[::-1],
            ties=None if self.ties is None else self.ties[::-1],
            left_out=self.left_out[::-1],
        )


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
) -> PairAlignment:
    """Align two models given as arrays: wraps them in ``Representation`` objects and calls ``compare``.

    Either side may be a ``Representation`` already, such as one made of kernels.

    Layers are compared as they are. To follow the paper, pass both models through ``prepare`` first.

    Parameters
    ----------
    layers_x, layers_y : floating [n, d], a sequence of them, or Representation
        One layer or all layers of a model; rows are the same samples in the same order. Layers that are constant over
        the samples are left out. Ties between equally near samples are broken by a random order that is fixed for each
        side and layer (``prh.core.ties``), so a model with many ties does not score 1 even against itself.
    metric : str
        A name in ``prh.core.metrics.METRICS``.
    k : int
        Number of neighbours, for metrics that use them.
    permutations : int
        Size of the permutation null; 0 for none.
    seed : int
        Seed of all random draws.
    device : str, optional
        torch device to compute on; by default that of the first tensor among the layers, "cpu" for arrays.
    memory_gb : float
        Upper bound on the working memory of one step, in addition to its inputs and its result.
    **options
        Passed on to ``compare``: groups, alpha, subsamples, splits.

    Returns
    -------
    PairAlignment
        Scores of all layer pairs, the best pair, and the evidence that was requested.

    Raises
    ------
    ValueError
        For the inputs that ``Representation`` and ``compare`` reject.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 8)).astype("float32")
    >>> alignment = align([x, x**3], [-x], permutations=99)
    >>> alignment.layers, alignment.best, alignment.p
    ((0, 0), 1.0, 0.01)
    """
    sides: dict[str, Any] = {"x": _as_list(layers_x), "y": _as_list(layers_y)}
    arrays = {name: side for name, side in sides.items() if isinstance(side, (list, tuple))}
    settings: dict[str, Any] = {"device": device or device_of(*chain(*arrays.values())), "memory_gb": memory_gb}
    sides |= {name: Representation(name, layers, **settings) for name, layers in arrays.items()}
    x, y = sides.values()
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
) -> PairAlignment:
    """Align two representations. Intermediate results that depend on ``x`` alone are cached in it for the next ``y``.

    Parameters
    ----------
    x, y : Representation
        The models, on the same samples in the same order.
    metric : str
        A name in ``prh.core.metrics.METRICS``.
    k : int
        Number of neighbours, for metrics that use them.
    permutations : int
        Size K of the permutation null of the maximum over layer pairs; 0 for none.
    groups : array [n], optional
        Group of each sample, if samples are not independent of each other. Whole groups are then permuted, drawn and
        split (``prh.core.calibration.permutation``). If the gallery is larger than n, one group per gallery sample.
    alpha : float
        Significance level of the threshold; the intervals have confidence 1 - alpha.
    subsamples : int
        Number of half-samples for the interval, for metrics that need them; 0 for no interval, 100 is plenty.
    splits : int
        Number of random splits for the cross-fitted score and the optimism; 0 for none, 10 is plenty.
    seed : int
        Seed of all random draws. Each kind of evidence has its own stream, so requesting one does not change another.

    Returns
    -------
    PairAlignment
        Scores of all layer pairs, the best pair, and the evidence that was requested.

    Raises
    ------
    ValueError
        If the metric is unknown, the models have different n, k >= n, two models with ties share a name, an argument is
        out of range, a score is NaN, or the groups cannot be permuted.

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
        raise ValueError(f"permutations is {permutations} and splits {splits}; neither may be negative (0 for none).")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    groups = None if groups is None else calibration.numbered(groups, x.gallery)
    traits = metric_called(metric)
    k = k if traits.needs_k else None
    table = scores(x, y, traits, k)
    best, layers = best_pair(table)
    evidence: dict[str, Any] = {"ties": _ties(x, y, k, layers), "left_out": (x.left_out, y.left_out)}
    streams = [np.random.default_rng([seed, stream]) for stream in range(3)]
    if permutations:
        null = null_maxima(x, y, traits, k, permutations, streams[0], groups)
        tau = calibration.threshold(best, null, alpha)
        evidence |= {"null": null, "threshold": tau, "p": calibration.p_value(best, null)}
        if traits.bounded:
            evidence["calibrated"] = calibration.calibrated(best, tau, bounded=True)
    if splits:
        evidence["crossfitted"], evidence["optimism"] = crossfit(x, y, traits, k, splits, streams[2], groups)
    if subsamples:
        spread = spread_of(x, y, traits, k, layers, subsamples, streams[1], groups)
        evidence["interval"] = intervals.ends(best, spread, alpha, bounded=traits.bounded)
        optimism = evidence.get("optimism")
        if optimism is not None:
            evidence["chosen_interval"] = intervals.ends(best, spread, alpha, bounded=traits.bounded, optimism=optimism)
    return PairAlignment(traits.name, k, x.gallery, table, best, layers, **evidence)


def _ties(x: Representation, y: Representation, k: int | None, layers: tuple[int, int]) -> tuple[float, float] | None:
    of_x, of_y = (None if k is None else side.ties(k) for side in (x, y))
    if of_x is None or of_y is None:
        return None
    return float(of_x[layers[0]]), float(of_y[layers[1]])


def _as_list(layers: Any) -> Sequence[Any] | Representation:
    return layers if isinstance(layers, (list, tuple, Representation)) else [layers]
