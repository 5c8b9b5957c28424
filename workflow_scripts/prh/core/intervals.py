"""Confidence intervals of scores: how much the score would vary with other samples of the same kind and number.

Most metrics define the effect of single samples on their score (``prh.core.metrics.effects``), which needs no draws.
The others are scored on random halves of the samples. Rows are never bootstrapped: a sample drawn twice is its own
nearest neighbour in both models and inflates every neighbour-based score.
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
    """Estimated variance of a score, and the degrees of freedom of that estimate."""

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
        One layer each.
    metric : Metric
        Its registered effects are used if they can be computed for these samples.
    k : int, optional
        Number of neighbours.
    score : callable
        Maps two representations (halves of x and y) to their score or NaN; called only without effects.
    subsamples : int
        Number of half-samples to draw without effects, two per split.
    rng : Generator
        Source of the random splits.
    groups : array [n], optional
        Groups of samples that are drawn or left out as a whole.

    Returns
    -------
    Spread
        Its variance is NaN if some half has no score, and 0 if the score does not vary.
    """
    units = numbered_units(groups, x.n)
    build = EFFECTS.get(metric.name)
    effects = None if build is None else build(x, y, k, units)
    if effects is not None:
        return Spread(effects.variance, effects.degrees)
    splits = (halves(rng, x.n, groups) for _ in range((subsamples + 1) // 2))
    scores = np.array([[score(x.subset(half), y.subset(half)) for half in split] for split in splits])
    return by_spread(scores) if metric.halves == "spread" else by_contrast(scores)


def by_spread(scores: np.ndarray) -> Spread:
    """Delete-half jackknife: the variance of scores [splits, 2] of halves drawn without replacement.

    With d of n samples left out, (n - d) / d times that variance estimates the variance of the full score (Shao and Wu
    1989; Politis, Romano and Wolf 1999); for halves the factor is 1. Interactions of two samples are counted three
    times.
    """
    return Spread(float(np.var(scores, ddof=1)), scores.size - 1)


def by_contrast(scores: np.ndarray) -> Spread:
    """A quarter of the mean squared difference between the scores [splits, 2] of the two halves of each split.

    The halves are independent samples, so this is an unbiased estimate of half the variance at n / 2, which equals the
    variance at n if variances fall as 1 / n. Interactions of two samples are counted twice.
    """
    return Spread(float(np.mean(np.square(scores[:, 0] - scores[:, 1]))) / 4, len(scores))


def ends(
    score: float, spread: Spread, alpha: float, *, bounded: bool, optimism: float = 0.0
) -> tuple[float, float] | None:
    """(low, high): score -+ t sd, at most 1 if ``bounded``; None if the variance is 0 or NaN.

    The best of many layer pairs is partly best by luck. ``optimism`` (``prh.core.evidence.crossfit``) is the size of
    that luck for half of the samples. With all samples the noise, and with it the luck, is smaller by a factor sqrt(2),
    so the interval is shifted down by optimism / sqrt(2). (It is not shifted up if the optimism is negative.)
    """
    from scipy.special import stdtrit  # Student t quantile, without the 1.5 s that importing scipy.stats takes

    if not spread.variance > 0:
        return None
    centre = score - max(optimism, 0.0) / math.sqrt(2)
    margin = float(stdtrit(spread.degrees, 1 - alpha / 2)) * math.sqrt(spread.variance)
    return centre - margin, min(centre + margin, 1.0) if bounded else centre + margin


def halves(rng: np.random.Generator, n: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of n samples, each in ascending order; with ``groups``, whole groups are split into halves."""
    labels = numbered_units(groups, n)
    count = int(labels.max()) + 1
    first = np.isin(labels, rng.permutation(count)[: count // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)
