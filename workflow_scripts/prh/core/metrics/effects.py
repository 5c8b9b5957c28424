"""Effects of single samples on a score, from which its variance follows without drawing other samples.

A score of n samples decomposes into effects of single samples, interactions of pairs, of triples, and so on (Hoeffding
1948); its variance is the sum of their variances. The jackknife, which leaves out one sample at a time, counts the
interactions of pairs twice and those of triples three times (Efron and Stein 1981). Near chance, alignment scores
consist almost only of pair interactions ("i and j are similar in both models"): the standard error of the jackknife is
then 1.4 times too large, that of half-samples 1.7 times. So the measured pair interactions are subtracted once.

A metric declares its effects in a function under ``@effects``; its interval then needs no random draws.

Symbols: n samples; g units, which are the samples, or groups of samples if only groups are independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prh.core.metrics.representation import Representation

Builder = Callable[[Representation, Representation, "int | None", np.ndarray], "Effects | None"]

EFFECTS: dict[str, Builder] = {}

# A variance is at least this share of the measured pair interactions. The true variance is at least all of them, but
# near chance it is hardly more, and taking the larger of two noisy estimates would overestimate it. In simulations
# (n = 100, benchmarks/coverage.py) intervals were too wide with 1 and too narrow with 0.5.
LEAST_OF_PAIRS = 0.75


@dataclass(frozen=True)
class Effects:
    """Effects of units on one score.

    Attributes
    ----------
    single : float64 [g]
        Effect of each unit: (1 - its share of the samples) times (the score minus the score without it).
    pairs : float64 [g]
        Half the sum of squared interactions of each unit with every other. Their total is what the jackknife counts
        once too often.
    least : float64 [g]
        Contribution of each unit to a lower bound on the variance.
    """

    single: np.ndarray
    pairs: np.ndarray
    least: np.ndarray

    @property
    def variance(self) -> float:
        """Estimated variance of the score over draws of the same number of units.

        The jackknife variance minus the pair interactions has the right mean, but it is noisy if both are large and
        their difference is small, and can even be negative. So the lower bound replaces it if that is larger.
        """
        return float(self._squares.sum())

    @property
    def degrees(self) -> float:
        """Degrees of freedom of ``variance``: 2 variance^2 / its own variance (Satterthwaite 1946).

        At most g - 1, and at least 4 (or g - 1), because an estimate dominated by a few large squares is unreliable.
        """
        largest, squares = len(self.single) - 1.0, self._squares
        error = float(np.square(squares - squares.mean()).sum())
        return min(max(2 * self.variance**2 / error, 4.0), largest) if error > 0 else largest

    @property
    def _squares(self) -> np.ndarray:
        """Contribution of each unit to ``variance``: float64 [g]."""
        units = len(self.single)
        squares = units / (units - 1) * (self.single - self.single.mean()) ** 2 - self.pairs
        return squares if squares.sum() > self.least.sum() else self.least


def effects(*names: str) -> Callable[[Builder], Builder]:
    """Register ``f(x, y, k, units)`` as the function that computes the ``Effects`` of some metrics.

    The arguments of the function are two representations of one layer each, the number of neighbours or None, and the
    unit of each sample, int [n] from 0 to g - 1. It returns None if it cannot compute them (too large, or grouped), in
    which case half-samples are drawn.

    Parameters
    ----------
    *names : str
        Metrics whose effects the function computes.

    Returns
    -------
    callable
        A decorator for the function.

    Examples
    --------
    >>> from prh.core.metrics import EFFECTS, effects
    >>> @effects("my_metric")
    ... def without_effects(x, y, k, units):
    ...     return None
    >>> EFFECTS.pop("my_metric") is without_effects
    True
    """

    def register(build: Builder) -> Builder:
        EFFECTS.update(dict.fromkeys(names, build))
        return build

    return register


def of_means(
    values: np.ndarray, samples: np.ndarray, without: np.ndarray, change: np.ndarray, units: np.ndarray
) -> Effects:
    """Effects on a mean over samples, where the value of a sample depends on others (its neighbours).

    Parameters
    ----------
    values : float [n]
        Value of each sample; the score is their mean.
    samples, without, change : int [m], int [m], float [m]
        The value of ``samples[e]`` changes by ``change[e]`` if the unit ``without[e]``, which is not its own, is left
        out. Each pair at most once; pairs without a change may be omitted.
    units : int [n]
        Unit of each sample.

    Notes
    -----
    A component of a value that depends on its own sample and r - 1 others is counted r times by the jackknife and r - 1
    times in the squares of ``change``, so their difference is right for components of every order, provided that
    different samples do not share components.
    """
    n, count = len(values), int(units.max()) + 1
    score = values.mean()
    size, own, others = (
        np.bincount(index, weights, count) for index, weights in ((units, None), (units, values), (without, change))
    )
    if count == 1:
        raise ValueError("effects need at least two units.")
    left = (values.sum() - own + others) / (n - size)
    single = (n - size) / n * (score - left)
    a, b = units[samples].astype(np.int64), without.astype(np.int64)
    code, pair = np.unique(np.minimum(a, b) * count + np.maximum(a, b), return_inverse=True)
    between = np.square(np.bincount(pair, change) / n)
    independent = count / (count - 1) * ((own - size * score) / n) ** 2
    return Effects(single, _halved(between, code // count, code % count, count), independent)


def of_pairs(parts: np.ndarray, left: np.ndarray, right: np.ndarray, units: np.ndarray) -> Effects:
    """Effects on a score that is a sum over pairs of samples: ``parts`` float [m] of the pairs (left[e], right[e]).

    Each unordered pair occurs once; a sample may be paired with itself. For a score that is a ratio, ``parts`` are
    those of its linear approximation, which sum to 0.
    """
    count = int(units.max()) + 1
    a, b = units[left], units[right]
    within = a == b
    single = np.bincount(a, parts, count) + np.bincount(b[~within], parts[~within], count)
    a, b, parts = a[~within], b[~within], parts[~within]
    if count < len(units):
        code, pair = np.unique(np.minimum(a, b).astype(np.int64) * count + np.maximum(a, b), return_inverse=True)
        a, b, parts = code // count, code % count, np.bincount(pair, parts)
    pairs = _halved(parts**2, a, b, count)
    return Effects(single, pairs, LEAST_OF_PAIRS * pairs)


def _halved(squares: np.ndarray, a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Sum over pairs of half their square, for each of the two units of a pair: float64 [count]."""
    return (np.bincount(a, squares, count) + np.bincount(b, squares, count)) / 2


def numbered_units(groups: np.ndarray | None, n: int) -> np.ndarray:
    """Unit of each of n samples, int [n]: its group, numbered from 0, or the sample itself without groups."""
    return np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
