import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from prh.core import statistics


def test_spearman_by_hand():
    assert statistics.spearman([1, 2, 3], [10, 30, 20]) == pytest.approx(0.5)
    assert statistics.spearman([1, 2, 3, 4], [8, 4, 2, 1]) == pytest.approx(-1)
    assert math.isnan(statistics.spearman([1, 2, 3], [5, 5, 5]))


@given(hnp.arrays(float, (2, 9), elements=st.integers(0, 5)))
def test_spearman_is_scipys_also_with_ties(xy):
    x, y = xy
    if np.ptp(x) and np.ptp(y):
        assert statistics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_ranks_give_one_to_the_largest_and_share_ties():
    assert statistics.ranks([0.3, 0.1, 0.3]).tolist() == [1.5, 3, 1.5]


def test_linear_fit_by_hand():
    fit = statistics.linear_fit([0, 1, 2, 3], [0, 1, 1, 2])
    assert (fit.slope, fit.intercept) == pytest.approx((0.6, 0.1))
    assert fit.residual_deviation == pytest.approx(math.sqrt(0.2 / 2))
    assert fit.slope_stderr == pytest.approx(math.sqrt(0.1 / 5))
    assert fit.r2 == pytest.approx(1 - 0.2 / 2)
    low, high = fit.band(np.array([1.5]))
    half = stats.t.ppf(0.975, 2) * math.sqrt(0.1 / 4)  # at the mean of x only the error of the mean is left
    assert (low[0], high[0]) == pytest.approx((1.0 - half, 1.0 + half))
    low, high = fit.slope_interval()
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(0.1 / 5))


def test_band_holds_the_true_line_as_often_as_it_says():
    rng = np.random.default_rng(0)
    x, at = np.linspace(0, 1, 12), np.array([0.8])
    inside = 0
    for _ in range(400):
        low, high = statistics.linear_fit(x, 1 + 2 * x + rng.normal(size=12)).band(at)
        inside += low[0] <= 2.6 <= high[0]
    assert 0.92 <= inside / 400 <= 0.98


def test_a_line_through_two_points_has_no_interval():
    fit = statistics.linear_fit([0, 1], [1, 3])
    assert fit.slope == pytest.approx(2)
    assert np.isnan([*fit.band(np.array([0.5])), *np.array(fit.slope_interval())[:, None]]).all()


def test_monotone_fit_by_hand():
    fitted, r2 = statistics.monotone_fit([1, 2, 3, 4], [1, 3, 2, 4])
    assert fitted.tolist() == [1, 2.5, 2.5, 4]
    assert r2 == pytest.approx(1 - 0.5 / 5)


@given(hnp.arrays(float, 8, elements=st.floats(-5, 5), unique=True))
def test_monotone_fit_rises_and_explains_no_less_than_a_rising_line(y):
    x = np.arange(8.0)
    fitted, r2 = statistics.monotone_fit(x, y)
    assert (np.diff(fitted) >= -1e-9).all()
    line = statistics.linear_fit(x, y)
    if line.slope > 0 and not math.isnan(r2):
        assert r2 >= line.r2 - 1e-9


def dyadic_variance(values, left, right):
    """The definition: products of residuals over all ordered pairs of pairs that share a model."""
    residuals = np.array(values) - np.mean(values)
    pairs = [set(p) for p in zip(left, right, strict=True)]
    total = sum(
        residuals[i] * residuals[j] for i, j in itertools.product(range(len(pairs)), repeat=2) if pairs[i] & pairs[j]
    )
    return total / len(pairs) ** 2


def test_pair_mean_by_hand():
    left, right = "aaabbc", "bcdcdd"
    values = [4.0, 1, 1, 1, 1, 2]  # residuals 7/3, -2/3, -2/3, -2/3, -2/3, 1/3
    result = statistics.pair_mean(values, left, right)
    assert result.mean == pytest.approx(10 / 6)
    assert (result.pairs, result.models) == (6, 4)
    # all products sum to 0; disjoint pairs are (ab, cd), (ac, bd), (ad, bc): what is left is minus twice their products
    expected = -2 * (7 / 3 * 1 / 3 + 4 / 9 + 4 / 9) / 36
    assert expected < 0
    assert math.isnan(result.robust_stderr)
    assert math.isnan(result.low)
    assert result.stderr == pytest.approx(np.std(values, ddof=1) / math.sqrt(6))


@given(st.integers(4, 7), st.integers(0, 10))
@settings(max_examples=30, deadline=None)
def test_pair_mean_variance_is_its_definition(models, seed):
    rng = np.random.default_rng(seed)
    able = rng.normal(size=models)
    left, right = np.triu_indices(models, 1)
    values = able[left] + able[right] + 0.1 * rng.normal(size=len(left))
    expected = dyadic_variance(values, left, right)
    result = statistics.pair_mean(values, left, right)
    if expected > 0:
        assert result.robust_stderr == pytest.approx(math.sqrt(expected))
        assert result.high - result.mean == pytest.approx(stats.t.ppf(0.975, models - 1) * math.sqrt(expected))
    else:
        assert math.isnan(result.robust_stderr)


def test_pair_mean_over_two_sets_is_two_way_clustering():
    rng = np.random.default_rng(1)
    grid = rng.normal(size=(5, 1)) + rng.normal(size=(1, 4)) + rng.normal(size=(5, 4))
    residuals = grid - grid.mean()
    two_way = ((residuals.sum(0) ** 2).sum() + (residuals.sum(1) ** 2).sum() - (residuals**2).sum()) / 20**2
    left = np.repeat([f"row{i}" for i in range(5)], 4)
    right = np.tile([f"column{i}" for i in range(4)], 5)
    result = statistics.pair_mean(grid.ravel(), left, right)
    assert result.robust_stderr == pytest.approx(math.sqrt(two_way))


def test_pairs_that_share_models_are_less_sure_than_they_look():
    rng = np.random.default_rng(2)
    left, right = np.triu_indices(20, 1)
    able = rng.normal(size=20)
    result = statistics.pair_mean(able[left] + able[right], left, right)
    assert result.robust_stderr > 2 * result.stderr


def test_qap_over_rows_by_hand():
    trend = statistics.qap_rows(np.array([[1.0], [2], [3]]), [1, 2, 3])
    assert trend.correlation == pytest.approx(1)
    assert trend.exact
    assert trend.permutations == 5
    assert trend.p == pytest.approx(2 / 6)  # the order itself and its reverse


def test_qap_over_rows_is_the_correlation_of_all_cells_and_counts_orders_as_defined():
    rng = np.random.default_rng(3)
    scores, x = rng.normal(size=(5, 4)), np.array([0.3, 0.1, 0.1, 0.9, 0.5])
    trend = statistics.qap_rows(scores, x)

    def of(order):
        return stats.spearmanr(np.repeat(x[list(order)], 4), scores.ravel()).statistic

    everything = np.array([of(order) for order in itertools.permutations(range(5))])
    assert trend.correlation == pytest.approx(of(range(5)))
    assert trend.p == pytest.approx((np.abs(everything) >= abs(trend.correlation) - 1e-12).mean())


def test_qap_over_a_square_counts_orders_as_defined():
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(5, 5))
    scores += scores.T
    able = rng.normal(size=5)
    covariate = np.minimum.outer(able, able)
    above = np.triu_indices(5, 1)
    trend = statistics.qap_square(scores, covariate)

    def of(order):
        return stats.spearmanr(scores[above], covariate[np.ix_(order, order)][above]).statistic

    everything = np.array([of(order) for order in itertools.permutations(range(5))])
    assert trend.correlation == pytest.approx(of(range(5)))
    assert trend.p == pytest.approx((np.abs(everything) >= abs(trend.correlation) - 1e-12).mean())


def test_the_diagonal_of_a_square_is_not_used():
    rng = np.random.default_rng(5)
    scores, covariate = rng.normal(size=(2, 4, 4))
    scores, covariate = scores + scores.T, covariate + covariate.T
    plain = statistics.qap_square(scores, covariate)
    np.fill_diagonal(scores, np.nan)
    assert statistics.qap_square(scores, covariate) == plain


def test_random_permutations_agree_with_all_and_repeat():
    rng = np.random.default_rng(6)
    scores, x = rng.normal(size=(6, 3)), rng.normal(size=6)
    exact = statistics.qap_rows(scores, x, permutations=720)
    drawn = statistics.qap_rows(scores, x, permutations=719, seed=1)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=0.06)
    assert statistics.qap_rows(scores, x, permutations=719, seed=1) == drawn


def test_qap_keeps_its_level_where_a_test_of_cells_does_not():
    rng = np.random.default_rng(7)
    qap = cells = 0
    for _ in range(150):
        scores = rng.normal(size=(7, 1)) + 0.3 * rng.normal(size=(7, 6))  # cells of a row go together
        x = rng.normal(size=7)
        qap += statistics.qap_rows(scores, x, permutations=199).p <= 0.05
        cells += stats.spearmanr(np.repeat(x, 6), scores.ravel()).pvalue <= 0.05
    assert qap / 150 <= 0.1
    assert cells / 150 > 0.3


def test_there_is_no_line_where_all_x_are_equal():
    fit = statistics.linear_fit([1, 1, 1], [1, 2, 4])
    assert all(math.isnan(value) for value in (fit.slope, fit.r2, *fit.slope_interval(), fit.predict(1.0)))
    assert np.isnan(fit.band(np.array([1.0, 2.0]))).all()


def test_a_constant_covariate_has_no_trend():
    trend = statistics.qap_rows(np.arange(6.0).reshape(3, 2), [1, 1, 1])
    assert math.isnan(trend.correlation)
    assert math.isnan(trend.p)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.spearman([1, 2], [1, 2, 3]), "same length"),
        (lambda: statistics.spearman([], []), "x are empty"),
        (lambda: statistics.spearman([1, np.nan, 2], [1, 2, 3]), "x hold NaN or infinity at 1"),
        (lambda: statistics.linear_fit([1], [1]), "at least 2"),
        (lambda: statistics.monotone_fit([1, 2], [1, np.inf]), "y hold NaN"),
        (lambda: statistics.ranks([]), "values are empty"),
        (lambda: statistics.pair_mean([1, 2], "ab", "ba"), "given twice"),
        (lambda: statistics.pair_mean([1], "a", "a"), "with itself"),
        (lambda: statistics.pair_mean([1, 2], "ab", "c"), "2 values but 2 and 1"),
        (lambda: statistics.qap_rows(np.zeros((2, 2)), [1, 2]), "at least three rows"),
        (lambda: statistics.qap_rows(np.zeros((3, 2)), [1, 2]), "one covariate per row"),
        (lambda: statistics.qap_rows(np.full((3, 2), np.nan), [1, 2, 3]), "scores hold NaN"),
        (lambda: statistics.qap_square(np.zeros((2, 2)), np.zeros((2, 2))), "3 or more models"),
        (lambda: statistics.qap_square(np.zeros((3, 3)), np.zeros((4, 4))), "3 or more models"),
        (lambda: statistics.qap_square(np.arange(9).reshape(3, 3), np.zeros((3, 3))), "not symmetric"),
        (lambda: statistics.qap_square(1 - np.eye(3) * np.inf + np.tri(3) * np.nan, np.eye(3)), "scores hold NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()
