"""Is an alignment more than chance? Thresholds, p-values and calibrated scores from a permutation null.

After Gröger, Wen and Brbić (2026), arXiv:2602.14486. The statistic T is the *maximum* over layer pairs, so its null
must be of maxima too: the samples of one model are permuted, alike in all its layers, and the maximum is taken again.
"""

from __future__ import annotations

import math

import numpy as np


def threshold(observed: float, null: np.ndarray, alpha: float = 0.05) -> float:
    """tau: the ceil((1 - alpha)(K + 1))-th smallest of the observed score and its K permuted ones."""
    null = _checked(observed, null)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be between 0 and 1.")
    everything = np.sort(np.append(null, observed))
    rank = math.ceil(round((1 - alpha) * len(everything), 9))  # round: 0.95 * 500 is 475, not 475.00000000000006
    return float(everything[rank - 1])


def p_value(observed: float, null: np.ndarray) -> float:
    """(1 + number of permuted scores >= observed) / (K + 1): valid at any K, and never 0."""
    null = _checked(observed, null)
    return float((1 + np.count_nonzero(null >= observed)) / (len(null) + 1))


def calibrated(observed: float, tau: float, *, bounded: bool) -> float:
    """max((T - tau) / (1 - tau), 0): 0 up to the threshold, 1 for a perfect score.

    ``bounded`` says that the metric never exceeds 1; without that the formula has no meaning and ValueError is raised.
    """
    if not bounded:
        raise ValueError("a metric that can exceed 1 has no calibrated score; use its threshold and p-value.")
    if tau >= 1:
        return 0.0  # chance alone reaches a perfect score: nothing is left to be above it
    return max((observed - tau) / (1 - tau), 0.0)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values of a family of p-values (any shape): the least false discovery rate at which each is declared.

    Source: Benjamini and Hochberg (1995). ValueError for a p outside [0, 1] or NaN.
    """
    from scipy.stats import false_discovery_control  # a second and a half to import, and rows do without it

    p = np.asarray(p, float)
    if not p.size or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must be numbers in [0, 1], at least one.")
    return false_discovery_control(p.ravel(), method="bh").reshape(p.shape)


def permutation(rng: np.random.Generator, n: int, groups: np.ndarray | None = None) -> np.ndarray:
    """A random order of n samples under which "the two models are unrelated" changes nothing: int64 [n].

    Without groups, all orders are equally likely. ``groups[i]`` names the group of sample i (frames of a video, crops
    of an image): samples that are alike for a reason of their own, in any model. Shuffling them freely would break up
    what every model keeps together, so the null would be too low and everything significant. Groups are independent
    of each other where samples are not; so whole groups change places, and the order inside them is kept. Only groups
    of equal size can; one whose size is unique stays, which errs on the side of a higher null. (To forbid that a
    sample meets its own group would not do: such orders are not a group of permutations, and their p-value would not
    be valid.)
    """
    if groups is None:
        return rng.permutation(n)
    order = np.arange(n)
    for blocks in _blocks_by_size(np.asarray(groups)):
        order[blocks] = blocks[rng.permutation(len(blocks))]
    return order


def numbered(groups: np.ndarray, n: int) -> np.ndarray:
    """``groups`` numbered from 0, int [n]; ValueError unless it names the groups of n samples, at least two."""
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise ValueError(f"groups has shape {list(groups.shape)}; it must name the group of each of the {n} samples.")
    try:
        names, numbers = np.unique(groups, return_inverse=True)
    except TypeError:
        raise ValueError("groups must be all numbers or all strings; give a sample without a group its own.") from None
    if len(names) < 2:
        raise ValueError("groups are one group only, of which nothing can be permuted, drawn or split; leave them out.")
    return numbers


def require_exchangeable(groups: np.ndarray, permutations: int) -> None:
    """Raise ValueError unless ``groups`` allows more orders than ``permutations``."""
    orders = math.prod(math.factorial(min(len(blocks), 20)) for blocks in _blocks_by_size(np.asarray(groups)))
    if orders <= permutations:
        raise ValueError(
            f"groups can change places in {orders} ways only, too few for {permutations} permutations, as only groups "
            "of equal size can; drop samples to equalise the groups, or ask for fewer permutations."
        )


def _blocks_by_size(groups: np.ndarray) -> list[np.ndarray]:
    """For each group size s: the samples of the groups of that size, int [number of groups, s]."""
    _, labels, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    by_group = np.argsort(labels, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return [by_group[starts[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes)]


def _checked(observed: float, null: np.ndarray) -> np.ndarray:
    null = np.asarray(null, float)
    if null.ndim != 1 or not len(null) or not (np.isfinite(null).all() and np.isfinite(observed)):
        raise ValueError("observed and null must be finite numbers, with at least one permuted score.")
    return null
