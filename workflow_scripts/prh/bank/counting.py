"""All models of a bank in one product, for metrics that only count.

`prh.core.alignment.compare` permutes the samples of each model of the bank in turn. A count of common neighbours does
not change if both sides are permuted alike, so permuting what is scored by the inverse order gives the same number. One
permutation then serves all models, whose neighbours are laid out only once: a hundred times faster for 30 models, and
the same numbers to the bit.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from prh.bank.folder import Bank
from prh.core import calibration
from prh.core.alignment import PairAlignment
from prh.core.evidence import random_order
from prh.core.metrics import Metric, Representation
from prh.core.metrics.base import among_all, require_distinct_ties
from prh.core.scoring import best_pair, scores

COUNTING = {"mutual_knn"}
"""Metrics that are a count over a constant, so that the order of summation cannot matter."""
THREADS = 4
"""Most permutations that are computed at the same time."""


def counted(
    x: Representation,
    bank: Bank,
    names: Sequence[str],
    metric: Metric,
    k: int,
    *,
    permutations: int = 0,
    groups: np.ndarray | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Iterator[tuple[str, PairAlignment]]:
    """(model, alignment of ``x`` with it) for the models ``names``, as `compare` would give them.

    ``permutations`` and ``alpha`` have been checked. Raises ValueError for a k beyond the neighbours that are stored,
    and for groups that cannot be permuted.
    """
    models = [bank.representation(name, metric.name, k) for name in names]
    stack, starts = bank.stacked(names, metric.name, k)
    parts = [slice(*ends) for ends in itertools.pairwise(starts)]
    table = scores(stack, x, metric, k).T
    for y in models:
        require_distinct_ties(x, y)  # ties of x are known once its neighbours are
    null = None
    if permutations:
        groups = None if groups is None else calibration.numbered(groups, x.n)
        null = _null(x, stack, starts[:-1], metric, k, permutations, groups, seed)
    for number, (y, part) in enumerate(zip(models, parts, strict=True)):
        whole = among_all(table[x.places, part], x, y)
        best, layers = best_pair(whole)
        evidence = {}
        if null is not None:
            tau = calibration.threshold(best, null[:, number], alpha)
            evidence = {
                "null": null[:, number],
                "threshold": tau,
                "p": calibration.p_value(best, null[:, number]),
                "calibrated": calibration.calibrated(best, tau, bounded=metric.bounded),
            }
        yield y.name, PairAlignment(metric.name, k, x.n, whole, best, layers, **evidence)


def _null(
    x: Representation,
    stack: Representation,
    starts: Sequence[int],
    metric: Metric,
    k: int,
    permutations: int,
    groups: np.ndarray | None,
    seed: int,
) -> np.ndarray:
    """Maxima over the layer pairs of each model: float64 [permutations, models], with the orders of `compare`."""
    if groups is not None:
        calibration.require_exchangeable(groups, permutations)
    rng = np.random.default_rng([seed, 0])
    inverses = [np.argsort(random_order(rng, x, groups)) for _ in range(permutations)]

    def maxima(inverse: np.ndarray) -> np.ndarray:
        return np.maximum.reduceat(np.nanmax(scores(stack, x.reordered(inverse), metric, k), axis=1), starts)

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:  # sparse products release Python's lock
        return np.array(list(pool.map(maxima, inverses)))
