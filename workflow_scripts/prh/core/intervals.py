"""Confidence intervals of scores: what the score would be with other samples of the same kind, as many as these.

Most metrics say what single samples do to their scores (``prh.core.metrics.effects``), which takes no draws. The others
are scored in random halves of the samples. Rows are never bootstrapped: a sample drawn twice is its own nearest
neighbour in both models and lifts every score of neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from prh.core.metrics import Metric, Representation
from prh.core.metrics.effects import EFFECTS, numbered_units

Score = Callable[[Representation, Representation], float]


class Spread(NamedTuple):
    """Estimated variance of a score, and the degrees of freedom of the estimate."""

    variance: float
    degrees: float


def spread(
    x: Representation,
    y: Representation,
    metric: Metric,
    k: int | None,
    score: Score,
    subsamples: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> Spread:
    """Variance of the score of two layers over draws of the samples.

    Parameters
    ----------
    x, y : Representation
        Of one layer each.
    metric : Metric
        Whose effects are taken if it has any for these samples.
    k : int, optional
        Number of neighbours.
    score : callable
        From two representations (halves of x and y) to their score, or NaN; asked only without effects.
    subsamples : int
        Number of half-samples that are drawn then, two in each split.
    rng : Generator
        Of the splits.
    groups : array [n], optional
        Groups of samples that are drawn or left out as wholes.

    The variance is NaN where some half has no score, and 0 where nothing varies.
    """
    units = numbered_units(groups, x.n)
    build = EFFECTS.get(metric.name)
    measured = None if build is None else build(x, y, k, units)
    if measured is not None:
        return Spread(measured.variance, measured.degrees)
    drawn = (halves(rng, x.n, groups) for _ in range((subsamples + 1) // 2))
    scores = np.array([[score(x.subset(half), y.subset(half)) for half in split] for split in drawn])
    return by_spread(scores) if metric.halves == "spread" else by_contrast(scores)


def by_spread(scores: np.ndarray) -> Spread:
    """The delete-half jackknife: the variance of scores [splits, 2] of halves, drawn without replacement.

    With d of n samples left out, (n - d) / d times that variance estimates that of the full score (Shao and Wu 1989;
    Politis, Romano and Wolf 1999); the factor is 1. What pairs of samples do beyond each alone is counted three times.
    """
    return Spread(float(np.var(scores, ddof=1)), scores.size - 1)


def by_contrast(scores: np.ndarray) -> Spread:
    """A quarter of the mean squared difference of the two halves of a split, from their scores [splits, 2].

    The halves are independent samples, so this is half the variance of a score at n / 2, without bias; and that is the
    variance at n where variances fall as 1 / n. What pairs of samples do beyond each alone is counted twice.
    """
    return Spread(float(np.mean(np.square(scores[:, 0] - scores[:, 1]))) / 4, len(scores))


def ends(
    score: float, spread: Spread, alpha: float, *, bounded: bool, optimism: float = 0.0
) -> tuple[float, float] | None:
    """(low, high): score -+ t sd, at most 1 if ``bounded``; None where nothing varies or the variance is unknown.

    The best of many layer pairs is best by luck too. ``optimism`` (``prh.core.evidence.crossfit``) is by how much half
    of the samples promise too much. With all of them the noise among which the best is chosen is smaller by a factor
    sqrt(2), and so is the luck: the interval is moved down by that. (It is not moved up where crossfits score higher.)
    """
    from scipy.special import stdtrit  # Student t quantile; scipy.stats takes a second and a half to import

    if not spread.variance > 0:
        return None
    centre = score - max(optimism, 0.0) / math.sqrt(2)
    margin = float(stdtrit(spread.degrees, 1 - alpha / 2)) * math.sqrt(spread.variance)
    return centre - margin, min(centre + margin, 1.0) if bounded else centre + margin


def halves(rng: np.random.Generator, n: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of n samples, each in ascending order; with groups, halves of the groups."""
    labels = numbered_units(groups, n)
    count = int(labels.max()) + 1
    first = np.isin(labels, rng.permutation(count)[: count // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)
