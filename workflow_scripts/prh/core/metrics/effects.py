"""What single samples do to a score: the variance of a score from the sample itself, without drawing another.

A score T of n samples has effects of single samples, of pairs of samples beyond these, of three, and so on (Hoeffding
1948). The variance of T is the sum of the variances of all. The jackknife, leaving out one sample at a time, counts the
effects of pairs twice, those of three three times (Efron and Stein 1981). Near chance scores of alignment have hardly
any effects but those of pairs, "i and j are alike in both models": the jackknife's standard error is then 1.4 times
too large, that of half-samples 1.7 times. So effects of pairs are taken off once, as measured.

A metric may say what its effects are, by a function under ``@effects``. Its interval needs no draws then.

    n samples, g units: the samples, or groups of them where these are independent and samples are not
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prh.core.metrics.representation import Representation

Builder = Callable[[Representation, Representation, "int | None", np.ndarray], "Effects | None"]

EFFECTS: dict[str, Builder] = {}

# The share of the effects of pairs, as measured, that a variance does not fall below. In truth it does not fall below
# all of them; but near chance it is not much more, and the larger of two uncertain numbers is too large. With 1,
# intervals held too often, with 0.5 too seldom (made-up data, n = 100; benchmarks/coverage.py).
LEAST_OF_PAIRS = 0.75


@dataclass(frozen=True)
class Effects:
    """Effects of units on one score.

    single : float64 [g], how much of the score goes with each unit: (1 - its share of the samples) times the score less
        the score without it.
    pairs : float64 [g], half the sum of squares of the effects of each unit and another beyond those of each: together,
        what the jackknife counts once more than it should.
    least : float64 [g], what each unit has in a variance that the score has at least.
    """

    single: np.ndarray
    pairs: np.ndarray
    least: np.ndarray

    @property
    def variance(self) -> float:
        """Estimate of the variance of the score over draws of as many units.

        The jackknife's less the squared effects of pairs has the right mean, but scatters where the two are large and
        their difference is small: it can even be negative.
        """
        return float(self._squares.sum())

    @property
    def degrees(self) -> float:
        """Degrees of freedom of ``variance``: 2 variance^2 / its own variance (Satterthwaite 1946).

        At most g - 1; at least 4 (or g - 1), as the error of a few large squares is itself known badly.
        """
        most, squares = len(self.single) - 1.0, self._squares
        error = float(np.square(squares - squares.mean()).sum())
        return min(max(2 * self.variance**2 / error, 4.0), most) if error > 0 else most

    @property
    def _squares(self) -> np.ndarray:
        """What each unit has in ``variance``: in the jackknife's, less its pairs, or in the least: float64 [g]."""
        units = len(self.single)
        squares = units / (units - 1) * (self.single - self.single.mean()) ** 2 - self.pairs
        return squares if squares.sum() > self.least.sum() else self.least


def effects(*names: str) -> Callable[[Builder], Builder]:
    """Register ``f(x, y, k, units)`` as what gives the ``Effects`` of the metrics ``names``.

    x, y : Representation of one layer each; k : neighbours or None; units : int [n], the unit of each sample, 0 to
    g - 1. None is returned where it cannot be done (too large, or grouped): half-samples are drawn then.
    """

    def register(build: Builder) -> Builder:
        EFFECTS.update(dict.fromkeys(names, build))
        return build

    return register


def of_means(
    values: np.ndarray, samples: np.ndarray, without: np.ndarray, change: np.ndarray, units: np.ndarray
) -> Effects:
    """Effects on a mean over samples, the value of each depending on others (its neighbours).

    Parameters
    ----------
    values : float [n]
        Value of each sample; the score is their mean.
    samples, without, change : int [m], int [m], float [m]
        By how much the value of ``samples[e]`` changes if the unit ``without[e]``, not its own, is left out; each pair
        at most once, those that change nothing need not be listed.
    units : int [n]
        Unit of each sample.

    A component of a value that hangs on its own sample and r - 1 others is r times in the jackknife, and r - 1 times in
    the squares of ``change``: their difference is right for components of every order, as long as those of different
    samples are not the same.
    """
    n, count = len(values), int(units.max()) + 1
    score = values.mean()
    size, own, others = (np.bincount(at, of, count) for at, of in ((units, None), (units, values), (without, change)))
    if count == 1:
        raise ValueError("effects need two units at least.")
    left = (values.sum() - own + others) / (n - size)
    single = (n - size) / n * (score - left)
    a, b = units[samples].astype(np.int64), without.astype(np.int64)
    code, pair = np.unique(np.minimum(a, b) * count + np.maximum(a, b), return_inverse=True)
    between = np.square(np.bincount(pair, change) / n)
    independent = count / (count - 1) * ((own - size * score) / n) ** 2
    return Effects(single, _halved(between, code // count, code % count, count), independent)


def of_pairs(parts: np.ndarray, left: np.ndarray, right: np.ndarray, units: np.ndarray) -> Effects:
    """Effects on a score that is a sum over pairs of samples: float ``parts`` [m] for pairs (left[e], right[e]).

    Each unordered pair once, a sample with itself allowed. Where the score is a ratio, ``parts`` are those of its
    linear approximation, whose sum is 0.
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
    """Half of the square of each pair for either of its units, summed: float64 [count]."""
    return (np.bincount(a, squares, count) + np.bincount(b, squares, count)) / 2


def numbered_units(groups: np.ndarray | None, n: int) -> np.ndarray:
    """Unit of each of n samples: its group, numbered from 0, or itself. int [n]."""
    return np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
