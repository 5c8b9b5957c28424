"""Statistics over many models: trends, fits and means whose errors account for pairs that share models.

An alignment belongs to a pair of models, and pairs that share a model are not independent: 78 models give 3,003 pairs
but only 78 independent units. So trends are tested by permuting models, not pairs (QAP), and intervals of means over
pairs leave out one model at a time, not one pair (jackknife).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.isotonic import IsotonicRegression


@dataclass(frozen=True)
class Trend:
    """A correlation and its two-sided permutation p-value; ``exact`` if all permutations of the models were used."""

    correlation: float
    p: float
    permutations: int
    exact: bool


@dataclass(frozen=True)
class LinearFit:
    """Least-squares line y = intercept + slope * x through n independent points, and the moments its intervals need."""

    slope: float
    intercept: float
    slope_stderr: float
    r2: float
    n: int
    mean_x: float
    sum_squares_x: float
    residual_deviation: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The line at ``x``."""
        return self.intercept + self.slope * np.asarray(x, float)

    def slope_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Lower and upper confidence limit of the slope (NaN for n = 2)."""
        half = stats.t.ppf((1 + confidence) / 2, self.n - 2) * self.slope_stderr
        return self.slope - half, self.slope + half

    def band(self, x: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper confidence limit of the line (of the mean of y, not of single points) at ``x``.

        NaN for n = 2, where the line leaves no residuals to estimate an error from, and if there is no line.
        """
        x = np.asarray(x, float)
        if self.n == 2 or math.isnan(self.slope):
            return np.full_like(x, np.nan), np.full_like(x, np.nan)
        stderr = self.residual_deviation * np.sqrt(1 / self.n + (x - self.mean_x) ** 2 / self.sum_squares_x)
        half = stats.t.ppf((1 + confidence) / 2, self.n - 2) * stderr
        return self.predict(x) - half, self.predict(x) + half


@dataclass(frozen=True)
class PairMean:
    """Mean over pairs of models, each pair once.

    stderr: the usual standard error, as if pairs were independent (NaN for one pair). jackknife_stderr, low, high:
    standard error and interval from leaving out one model at a time; NaN if there is none, with the reason in
    ``no_interval``.
    """

    mean: float
    stderr: float
    jackknife_stderr: float
    low: float
    high: float
    pairs: int
    models: int
    no_interval: str | None = None


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman rank correlation in [-1, 1], ties at their mean rank; NaN if x or y is constant."""
    x, y = _paired(x, y, at_least=2)
    return _pearson(stats.rankdata(x), stats.rankdata(y))


def ranks(values: Sequence[float]) -> np.ndarray:
    """Rank of each value, 1 for the largest; equal values share the mean of their ranks."""
    return stats.rankdata(-_finite(values, "values"))


def linear_fit(x: Sequence[float], y: Sequence[float]) -> LinearFit:
    """Least-squares line; all NaN if all x are equal. Raises ValueError for fewer than two points."""
    x, y = _paired(x, y, at_least=2)
    if np.ptp(x) == 0:
        nan = math.nan
        return LinearFit(nan, nan, nan, nan, len(x), float(x.mean()), 0.0, nan)
    fit = stats.linregress(x, y)
    residuals = y - fit.intercept - fit.slope * x
    return LinearFit(
        slope=float(fit.slope),
        intercept=float(fit.intercept),
        slope_stderr=float(fit.stderr) if len(x) > 2 else math.nan,
        r2=float(fit.rvalue**2),
        n=len(x),
        mean_x=float(x.mean()),
        sum_squares_x=float(((x - x.mean()) ** 2).sum()),
        residual_deviation=math.sqrt(float(residuals @ residuals) / (len(x) - 2)) if len(x) > 2 else math.nan,
    )


def monotone_fit(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, float]:
    """Best non-decreasing fit in least squares (isotonic regression): its value at each x [n], and its R^2.

    R^2 is NaN if y is constant. It is at least the R^2 of an increasing line; the difference shows how nonlinear the
    relation is.
    """
    x, y = _paired(x, y, at_least=2)
    fitted = IsotonicRegression(increasing=True).fit(x, y).predict(x)
    total = ((y - y.mean()) ** 2).sum()
    return fitted, float(1 - ((y - fitted) ** 2).sum() / total) if total > 0 else math.nan


def pair_mean(
    values: Sequence[float], left: Sequence[Hashable], right: Sequence[Hashable], confidence: float = 0.95
) -> PairMean:
    """Mean of ``values``, one per unordered pair (left[i], right[i]) of models, with an interval that counts models.

    Two designs yield an interval. *All pairs of one set* of M >= 3 models: the variance of the mean is the delete-one
    jackknife (M - 1) / M sum_m (mean without m - their mean)^2, with t(M - 1). *All pairs between two sets* of R and C
    models, at least three each: the sum of the jackknife variances V of the two sets, with the mean of t(R - 1) and
    t(C - 1), weighted by V.

    Leaving out a model leaves out all its pairs, which accounts for what they share. The jackknife does not
    underestimate the variance on average (Efron and Stein 1981): it counts the variance of single pairs twice, so the
    interval is too wide if models do not differ, and close to its nominal coverage if they do. docs/statistics.md has
    the measured coverage.

    Sources: Tukey (1958) for t(M - 1); Arvesen (1969) for means over pairs (one- and two-sample U-statistics); Cochran
    and Cox (1950) for the weighted t, which keeps its coverage if one set is small.

    Parameters
    ----------
    values : sequence of float [pairs]
        Finite; in any order.
    left, right : sequence of hashable [pairs]
        Names of the two models of each pair, in either order.
    confidence : float
        Nominal coverage of the interval, between 0 and 1.

    Raises
    ------
    ValueError
        If a value is not finite, a pair occurs twice (in either order), a model is paired with itself, lengths differ,
        or ``confidence`` is not between 0 and 1.
    """
    values = _finite(values, "values")
    _require_pairs_once(left, right, len(values))
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence is {confidence}; it must be between 0 and 1.")
    pairs, models = len(values), len({*left, *right})
    mean = float(values.mean())
    stderr = float(values.std(ddof=1) / math.sqrt(pairs)) if pairs > 1 else math.nan
    sets, reason = _sets(left, right, pairs)
    variances = [_jackknife_variance(values, left, right, members) for members in sets]
    if not reason and not sum(variances) > 1e-24 * float(np.abs(values).max()) ** 2:
        reason = "the mean is the same whichever model is left out, so its error cannot be estimated"
    if reason:
        return PairMean(mean, stderr, math.nan, math.nan, math.nan, pairs, models, reason)
    quantiles = [stats.t.ppf((1 + confidence) / 2, len(members) - 1) for members in sets]
    error = math.sqrt(sum(variances))
    half = float(np.average(quantiles, weights=variances)) * error
    return PairMean(mean, stderr, error, mean - half, mean + half, pairs, models)


def _sets(left: Sequence[Hashable], right: Sequence[Hashable], pairs: int) -> tuple[list[list[Hashable]], str | None]:
    """The one or two sets of models that these are all pairs of, and None; or no sets, and why there is no interval."""
    everyone = list(dict.fromkeys([*left, *right]))
    # In a complete grid the models that one is not paired with are its own set; in a single set that is only itself.
    partners = {b if a == everyone[0] else a for a, b in zip(left, right, strict=True) if everyone[0] in (a, b)}
    if pairs == math.comb(len(everyone), 2):
        if len(everyone) < 3:
            return [], "it needs three models"
        return [everyone], None
    own, other = [m for m in everyone if m not in partners], [m for m in everyone if m in partners]
    between = all((a in partners) != (b in partners) for a, b in zip(left, right, strict=True))
    if not between or pairs != len(own) * len(other):
        return [], "pairs are missing: it needs all pairs of one set of models, or all between two sets"
    if min(len(own), len(other)) < 3:
        return [], "it needs three models in each of the two sets"
    return [own, other], None


def _jackknife_variance(
    values: np.ndarray, left: Sequence[Hashable], right: Sequence[Hashable], members: Sequence[Hashable]
) -> float:
    """Delete-one jackknife variance of the mean over pairs, leaving out each of ``members`` with all its pairs."""
    index = {model: i for i, model in enumerate(members)}
    sums, counts = np.zeros((2, len(members)))
    # Deviations from the mean, so that no digits are lost if values are nearly equal.
    for deviation, *pair in zip(values - values.mean(), left, right, strict=True):
        for i in (index[model] for model in pair if model in index):
            sums[i] += deviation
            counts[i] += 1
    without = -sums / (len(values) - counts)
    return float((len(members) - 1) / len(members) * ((without - without.mean()) ** 2).sum())


def qap_rows(scores: np.ndarray, covariate: Sequence[float], *, permutations: int = 10_000, seed: int = 0) -> Trend:
    """Trend of a grid of scores with a property of its rows; p-value from permuting the rows.

    Parameters
    ----------
    scores : float [rows, columns]
        For example the alignment of language models (rows) with vision models (columns).
    covariate : float [rows]
        For example 1 - bits per byte.
    permutations : int
        Number of random permutations; all are used if there are no more than this.
    seed : int
        Seed of the random permutations.

    Returns
    -------
    Trend
        Spearman correlation over all cells. With one column this is the usual permutation test. Null hypothesis: rows
        are exchangeable; columns may differ, and cells of a row may depend on each other.

    Raises
    ------
    ValueError
        For NaN, shapes that do not match, or fewer than three rows.
    """
    scores, covariate = _finite(scores, "scores"), _finite(covariate, "covariate")
    if scores.ndim != 2 or covariate.shape != scores.shape[:1] or len(covariate) < 3:
        raise ValueError(
            f"Scores must be [rows, columns] with at least three rows and one covariate per row, "
            f"got {scores.shape} and {covariate.shape}."
        )
    # Permuting rows does not change ranks, and the covariate is constant along a row, so row sums are sufficient.
    row_sums = _standard(stats.rankdata(scores).reshape(scores.shape)).sum(axis=1)
    positions = _standard(stats.rankdata(covariate)) / math.sqrt(scores.shape[1])
    return _permuted(lambda order: float(row_sums @ positions[order]), len(covariate), permutations, seed)


def qap_square(scores: np.ndarray, covariate: np.ndarray, *, permutations: int = 10_000, seed: int = 0) -> Trend:
    """Trend of pairwise scores with a pairwise covariate over one set of models; p-value from permuting the models.

    Rows and columns of the covariate are permuted together (Hubert and Schultz 1976; Krackhardt 1988).

    Parameters
    ----------
    scores, covariate : float [models, models]
        Symmetric; the diagonal is ignored and each pair counts once.
    permutations : int
        Number of random permutations; all are used if there are no more than this.
    seed : int
        Seed of the random permutations.

    Returns
    -------
    Trend
        Spearman correlation over all pairs.

    Raises
    ------
    ValueError
        For NaN off the diagonal, a matrix that is not square or not symmetric, or fewer than three models.
    """
    scores, covariate = (np.array(m, float) for m in (scores, covariate))
    models = len(scores)
    for name, matrix in (("scores", scores), ("covariate", covariate)):
        if matrix.shape != (models, models) or models < 3:
            raise ValueError(f"The {name} must be a square matrix over the same 3 or more models, got {matrix.shape}.")
        np.fill_diagonal(matrix, 0)
        if not np.allclose(_finite(matrix, name), matrix.T):
            raise ValueError(f"The {name} are not symmetric; average the two orders of each pair first.")
    above = np.triu_indices(models, 1)
    score_ranks, covariate_ranks = np.zeros((2, models, models))
    score_ranks[above] = _standard(stats.rankdata(scores[above]))
    covariate_ranks[above] = _standard(stats.rankdata(covariate[above]))
    covariate_ranks += covariate_ranks.T
    return _permuted(
        lambda order: float((score_ranks * covariate_ranks[np.ix_(order, order)]).sum()), models, permutations, seed
    )


def _permuted(statistic, items: int, count: int, seed: int) -> Trend:
    """Two-sided permutation test of ``statistic(order)``; uses all orders if there are at most ``count``."""
    exact = math.factorial(items) <= count
    observed = statistic(np.arange(items))
    if math.isnan(observed):
        return Trend(math.nan, math.nan, 0, exact)
    if exact:
        orders = (np.array(order) for order in itertools.islice(itertools.permutations(range(items)), 1, None))
    else:
        rng = np.random.default_rng(seed)
        orders = (rng.permutation(items) for _ in range(count))
    # Orders that reproduce the observed value must count despite rounding.
    as_extreme = [abs(statistic(order)) >= abs(observed) - 1e-12 for order in orders]
    return Trend(observed, (1 + sum(as_extreme)) / (1 + len(as_extreme)), len(as_extreme), exact)


def _standard(values: np.ndarray) -> np.ndarray:
    """Centred and scaled to length 1, so that the dot product of two is their correlation; NaN if constant."""
    centred = values - values.mean()
    length = math.sqrt(float((centred**2).sum()))
    return centred / length if length > 0 else np.full_like(centred, np.nan)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(_standard(x) @ _standard(y))


def _paired(x: Sequence[float], y: Sequence[float], at_least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = _finite(x, "x"), _finite(y, "y")
    if x.ndim != 1 or x.shape != y.shape or len(x) < at_least:
        raise ValueError(f"x and y must be of the same length, at least {at_least}, got {x.shape} and {y.shape}.")
    return x, y


def _finite(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, float)
    if not values.size:
        raise ValueError(f"The {name} are empty.")
    if not np.isfinite(values).all():
        raise ValueError(f"The {name} hold NaN or infinity at {int(np.flatnonzero(~np.isfinite(values).ravel())[0])}.")
    return values


def _require_pairs_once(left: Sequence[Hashable], right: Sequence[Hashable], n: int) -> None:
    if not len(left) == len(right) == n:
        raise ValueError(
            f"There are {n} values but {len(left)} and {len(right)} model names; pass two names per value."
        )
    seen = set()
    for pair in zip(left, right, strict=True):
        if pair[0] == pair[1]:
            raise ValueError(f"The model {pair[0]} is paired with itself; leave that pair out.")
        if frozenset(pair) in seen:
            raise ValueError(f"The pair {pair[0]}, {pair[1]} occurs twice; pass each pair once.")
        seen.add(frozenset(pair))
