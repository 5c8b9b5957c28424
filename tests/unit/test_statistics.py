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


def all_pairs(models):
    """Names of the two models of all pairs of one set."""
    return tuple([f"m{i}" for i in side] for side in np.triu_indices(models, 1))


def grid_pairs(rows, columns):
    """Names of the two models of all pairs between two sets, row by row."""
    return np.repeat([f"row{i}" for i in range(rows)], columns), np.tile([f"column{i}" for i in range(columns)], rows)


def deleted_variance(values, left, right, members):
    """The definition: the mean anew without each model, and the jackknife's variance of these means."""
    without = [
        np.mean([v for v, a, b in zip(values, left, right, strict=True) if model not in (a, b)]) for model in members
    ]
    return (len(members) - 1) * np.mean((without - np.mean(without)) ** 2)


def test_pair_mean_by_hand():
    result = statistics.pair_mean([1.0, 2, 6], "aab", "bcc")  # without a, b, c: 6, 2, 1
    assert result.mean == pytest.approx(3)
    assert (result.pairs, result.models, result.no_interval) == (3, 3, None)
    assert result.jackknife_stderr == pytest.approx(math.sqrt(2 / 3 * (9 + 1 + 4)))
    assert result.high - 3 == pytest.approx(3 - result.low)
    assert result.high - 3 == pytest.approx(4.302653 * math.sqrt(28 / 3))  # t(2) at 0.975
    assert result.stderr == pytest.approx(np.std([1, 2, 6], ddof=1) / math.sqrt(3))


@given(st.integers(3, 7), st.data())
@settings(max_examples=40, deadline=None)
def test_pair_mean_of_one_set_is_the_loop_that_leaves_out_each_model(models, data):
    left, right = all_pairs(models)
    values = data.draw(hnp.arrays(float, len(left), elements=st.integers(-9, 9)))
    expected = deleted_variance(values, left, right, {*left, *right})
    result = statistics.pair_mean(values, left, right)
    if expected < 1e-12:
        assert "same whichever" in result.no_interval
        assert math.isnan(result.jackknife_stderr)
    else:
        half = stats.t.ppf(0.975, models - 1) * math.sqrt(expected)
        assert result.jackknife_stderr == pytest.approx(math.sqrt(expected))
        assert (result.low, result.high) == pytest.approx((values.mean() - half, values.mean() + half))


@given(st.integers(3, 5), st.integers(3, 6), st.data())
@settings(max_examples=40, deadline=None)
def test_pair_mean_between_two_sets_leaves_out_each_model_of_either(rows, columns, data):
    left, right = grid_pairs(rows, columns)
    values = data.draw(hnp.arrays(float, len(left), elements=st.integers(-9, 9)))
    of_rows, of_columns = (deleted_variance(values, left, right, set(side)) for side in (left, right))
    result = statistics.pair_mean(values, left, right, confidence=0.9)
    if of_rows + of_columns < 1e-12:
        assert "same whichever" in result.no_interval
        return
    assert result.jackknife_stderr**2 == pytest.approx(of_rows + of_columns)
    grid = values.reshape(rows, columns)  # of a mean, the jackknife's variance is the usual one of the models' means
    assert of_rows == pytest.approx(grid.mean(1).var(ddof=1) / rows)
    quantile = of_rows * stats.t.ppf(0.95, rows - 1) + of_columns * stats.t.ppf(0.95, columns - 1)
    quantile /= of_rows + of_columns
    assert result.high - result.mean == pytest.approx(quantile * result.jackknife_stderr)


@pytest.mark.parametrize("pairs", [all_pairs(5), grid_pairs(3, 4)])
@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_pair_mean_does_not_depend_on_the_order_of_pairs_or_of_their_models(pairs, random):
    left, right = pairs
    values = np.random.default_rng(0).normal(size=len(left))
    order = random.sample(range(len(left)), len(left))
    sides = [(left[i], right[i])[:: random.choice((1, -1))] for i in order]
    expected = statistics.pair_mean(values, left, right)
    result = statistics.pair_mean(values[order], [a for a, _ in sides], [b for _, b in sides])
    for name in ("mean", "stderr", "jackknife_stderr", "low", "high", "pairs", "models"):
        assert getattr(result, name) == pytest.approx(getattr(expected, name), rel=1e-12)


@pytest.mark.parametrize("pairs", [all_pairs(5), grid_pairs(3, 4)])
@given(st.floats(-100, 100), st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_pair_mean_moves_and_stretches_with_its_values(pairs, shift, scale):
    values = np.random.default_rng(1).normal(size=len(pairs[0]))
    plain, result = statistics.pair_mean(values, *pairs), statistics.pair_mean(shift + scale * values, *pairs)
    assert result.jackknife_stderr == pytest.approx(scale * plain.jackknife_stderr)
    assert result.low == pytest.approx(shift + scale * plain.low, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "left", "right", "why"),
    [
        ([0.4], "a", "b", "needs three models"),
        (np.arange(2.0), *grid_pairs(1, 2), "three models in each of the two sets"),
        (np.arange(10.0), *grid_pairs(2, 5), "three models in each of the two sets"),
        (np.arange(10.0), *grid_pairs(5, 2), "three models in each of the two sets"),
        (np.arange(5.0), *(side[:-1] for side in all_pairs(4)), "pairs are missing"),
        (np.arange(8.0), *(side[1:] for side in grid_pairs(3, 3)), "pairs are missing"),
        ([1.0, 2], "ac", "bd", "pairs are missing"),
        ([0.1] * 6, *all_pairs(4), "same whichever model is left out"),
        ([0.1] * 9, *grid_pairs(3, 3), "same whichever model is left out"),
        ([1.0, 0, 0, 0, 0, 1], *all_pairs(4), "same whichever model is left out"),  # each model: one 1, two 0
    ],
)
def test_where_there_is_no_interval_it_is_said_why(values, left, right, why):
    result = statistics.pair_mean(values, left, right)
    assert result.mean == pytest.approx(np.mean(values))
    assert np.isnan([result.jackknife_stderr, result.low, result.high]).all()
    assert why in result.no_interval


def test_pairs_that_share_models_are_less_sure_than_they_look():
    rng = np.random.default_rng(2)
    left, right = np.triu_indices(20, 1)
    able = rng.normal(size=20)
    result = statistics.pair_mean(able[left] + able[right], left, right)
    assert result.jackknife_stderr > 2 * result.stderr


def dyadic_robust(values, left, right):
    """Half of the dyadic-robust t interval (Aronow, Samii and Assenova 2015), which falls short for few models."""
    residuals = values - np.mean(values)
    _, members = np.unique([*left, *right], return_inverse=True)
    sums = np.bincount(members, weights=np.tile(residuals, 2))
    variance = ((sums**2).sum() - (residuals**2).sum()) / len(values) ** 2
    return stats.t.ppf(0.975, members.max()) * math.sqrt(variance) if variance > 0 else 0.0


def jackknife(values, left, right):
    result = statistics.pair_mean(values, left, right)
    return result.high - result.mean


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [all_pairs(4), all_pairs(5), all_pairs(7), grid_pairs(3, 3), grid_pairs(3, 8)])
def test_pair_means_interval_holds_the_true_mean_as_often_as_it_says(pairs):
    draws, rng = 1500, np.random.default_rng(8)
    codes, members = np.unique(np.concatenate(pairs), return_inverse=True)
    left, right = members.reshape(2, -1)
    inside = {jackknife: 0, dyadic_robust: 0}
    for _ in range(draws):
        able = rng.normal(size=len(codes))
        values = able[left] + able[right] + rng.normal(size=len(left))
        for half in inside:
            inside[half] += abs(values.mean()) <= half(values, *pairs)
    assert 0.94 <= inside[jackknife] / draws <= 0.995
    assert inside[dyadic_robust] / draws < 0.92  # this test is able to fail


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
        (lambda: statistics.pair_mean([1, 2], "ab", "ba"), "occurs twice"),
        (lambda: statistics.pair_mean([1], "a", "a"), "with itself"),
        (lambda: statistics.pair_mean([1, 2], "ab", "c"), "2 values but 2 and 1"),
        (lambda: statistics.pair_mean([1, np.nan, 2], "aab", "bcc"), "values hold NaN or infinity at 1"),
        (lambda: statistics.pair_mean([], "", ""), "values are empty"),
        (lambda: statistics.pair_mean([1, 2, 3], "aab", "bcc", confidence=95), "confidence is 95; it must be between"),
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
