"""Is an alignment more than chance? Thresholds, p-values and calibrated scores from a permutation null.

Method of Gröger, Wen and Brbić (2026), arXiv:2602.14486. The statistic T is the *maximum* over layer pairs, so its null
must consist of maxima too: the samples of one model are permuted, in the same way in all its layers, and the maximum is
taken again.
"""

from __future__ import annotations

import math

import numpy as np


def threshold(observed: float, null: np.ndarray, alpha: float = 0.05) -> float:
    """The threshold tau: the ceil((1 - alpha)(K + 1))-th smallest among the observed score and its K permuted scores.

    Raises ValueError unless 0 < alpha < 1 and all scores are finite.
    """
    null = _checked(observed, null)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    everything = np.sort(np.append(null, observed))
    rank = math.ceil(round((1 - alpha) * len(everything), 9))  # round: 0.95 * 500 is 475, not 475.00000000000006
    return float(everything[rank - 1])


def p_value(observed: float, null: np.ndarray) -> float:
    """(1 + number of permuted scores >= observed) / (K + 1): valid for any K, and never 0.

    Raises ValueError unless all scores are finite.
    """
    null = _checked(observed, null)
    return float((1 + np.count_nonzero(null >= observed)) / (len(null) + 1))


def calibrated(observed: float, tau: float, *, bounded: bool) -> float:
    """max((T - tau) / (1 - tau), 0): 0 up to the threshold, 1 for a perfect score.

    ``bounded`` says whether the metric never exceeds 1. Raises ValueError if not, since the formula is meaningless
    then.
    """
    if not bounded:
        raise ValueError("a metric that can exceed 1 has no calibrated score; use its threshold and p-value.")
    if tau >= 1:
        return 0.0  # chance alone reaches a perfect score, so nothing can exceed it
    return max((observed - tau) / (1 - tau), 0.0)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values of a family of p-values (any shape): the lowest false discovery rate at which each one is significant.

    Source: Benjamini and Hochberg (1995). Raises ValueError for a p-value that is NaN or outside [0, 1].
    """
    from scipy.stats import false_discovery_control  # takes 1.5 s to import, which most jobs can save

    p = np.asarray(p, float)
    if not p.size or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be a non-empty array of numbers in [0, 1].")
    return false_discovery_control(p.ravel(), method="bh").reshape(p.shape)


def permutation(rng: np.random.Generator, n: int, groups: np.ndarray | None = None) -> np.ndarray:
    """A random order of n samples that leaves their distribution unchanged if the two models are unrelated: int64 [n].

    Without groups, all orders are equally likely. ``groups[i]`` is the group of sample i: samples that resemble each
    other in any model, such as frames of one video or crops of one image. Shuffling them freely would separate what
    every model keeps together; the null would be too low and everything significant. Groups are independent of each
    other even where samples are not, so whole groups are exchanged and the order inside each is kept. Only groups of
    equal size can be exchanged; one of a unique size stays where it is, which makes the null higher rather than lower.
    (Forbidding orders in which a sample meets its own group is no alternative: such orders do not form a permutation
    group, so their p-value would not be valid.)
    """
    if groups is None:
        return rng.permutation(n)
    order = np.arange(n)
    for blocks in _blocks_by_size(np.asarray(groups)):
        order[blocks] = blocks[rng.permutation(len(blocks))]
    return order


def numbered(groups: np.ndarray, n: int) -> np.ndarray:
    """``groups`` numbered from 0: int [n]. Raises ValueError unless they are n labels of at least two groups."""
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {list(groups.shape)}; it must hold one group per sample, [{n}].")
    try:
        names, numbers = np.unique(groups, return_inverse=True)
    except TypeError:
        raise ValueError("groups must be all numbers or all strings; label samples without a group uniquely.") from None
    if len(names) < 2:
        raise ValueError("groups hold a single group, so nothing can be permuted, drawn or split; omit them.")
    return numbers


def require_exchangeable(groups: np.ndarray, permutations: int) -> None:
    """Raise ValueError unless ``groups`` allows more orders than ``permutations``."""
    orders = math.prod(math.factorial(min(len(blocks), 20)) for blocks in _blocks_by_size(np.asarray(groups)))
    if orders <= permutations:
        raise ValueError(
            f"groups can be exchanged in only {orders} ways, too few for {permutations} permutations, because only "
            "groups of equal size can be; drop samples to make the groups equal in size, or request fewer permutations."
        )


def _blocks_by_size(groups: np.ndarray) -> list[np.ndarray]:
    """One array per group size s, with the samples of the groups of that size: int [number of groups, s]."""
    _, labels, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    by_group = np.argsort(labels, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return [by_group[starts[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes)]


def _checked(observed: float, null: np.ndarray) -> np.ndarray:
    null = np.asarray(null, float)
    if null.ndim != 1 or not len(null) or not (np.isfinite(null).all() and np.isfinite(observed)):
        raise ValueError("observed and null must be finite numbers, with at least one permuted score.")
    return null
