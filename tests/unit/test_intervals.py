"""What single samples do to scores, against leaving them out in earnest; and the intervals that come of it."""

import numpy as np
import pytest
from scipy import stats

from prh.core import intervals
from prh.core.alignment import align
from prh.core.evidence import interval
from prh.core.metrics import EFFECTS, METRICS, Representation
from prh.core.metrics.effects import LEAST_OF_PAIRS, Effects, of_means, of_pairs
from prh.core.metrics.subspaces import PENALTIES, linear_regression
from prh.core.preparation import prepare

K, N = 4, 36
EXACT = ("mutual_knn", "jaccard_knn", "lcs_knn", "edit_distance_knn", "cycle_knn")
LINEAR = {  # approximations to first order: how well they must agree with leaving out
    "cka": 0.97, "cka_rbf": 0.97, "unbiased_cka": 0.97, "rsa": 0.99, "rsa_pearson": 0.97,
    "cknna": 0.9, "cknna_paper": 0.9, "linear_regression": 0.999,
}  # fmt: skip


def drawn(rng, n=N, noise=0.5, shared=True):
    things = rng.normal(size=(n, 4))
    seen = (things, things if shared else rng.normal(size=things.shape))
    return [prepare((x + noise * rng.normal(size=x.shape)).astype(np.float32)) for x in seen]


@pytest.fixture
def pair():
    return [Representation(name, [x]) for name, x in zip("xy", drawn(np.random.default_rng(0)), strict=True)]


def score(name, x, y, keep=None):
    if keep is not None:
        x, y = x.subset(keep), y.subset(keep)
    return float(METRICS[name].scores(x, y, K)[0, 0])


def left_out(name, pair, units):
    """(1 - share of the unit) (score - score without it), by scoring the others anew."""
    n, whole = len(units), score(name, *pair)
    kept = [np.flatnonzero(units != unit) for unit in range(units.max() + 1)]
    return np.array([len(keep) / n * (whole - score(name, *pair, keep)) for keep in kept])


def test_every_metric_but_those_of_subspaces_says_what_its_effects_are():
    assert sorted(METRICS.keys() - EFFECTS.keys()) == ["cknna_official", "procrustes", "pwcca", "svcca"]
    assert METRICS["debiased_cka"].name in EFFECTS


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("grouped", [False, True])
def test_effects_on_lists_are_those_of_leaving_out(name, grouped, pair):
    units = np.random.default_rng(1).integers(0, 12, N) if grouped else np.arange(N)
    units = np.unique(units, return_inverse=True)[1]
    found = EFFECTS[name](*pair, K, units)
    np.testing.assert_allclose(found.single, left_out(name, pair, units), atol=1e-12)
    assert found.least.sum() > 0
    assert (found.pairs >= 0).all()


@pytest.mark.parametrize("name", LINEAR)
def test_effects_on_kernels_are_nearly_those_of_leaving_out(name, pair):
    found, wanted = EFFECTS[name](*pair, K, np.arange(N)), left_out(name, pair, np.arange(N))
    assert np.corrcoef(found.single, wanted)[0, 1] > LINEAR[name]
    assert np.std(found.single) == pytest.approx(np.std(wanted), rel=0.2)


@pytest.mark.parametrize("name", ["unbiased_cka", "rsa"])
def test_groups_of_pairs_are_left_out_as_wholes(name, pair):
    units = np.repeat(np.arange(12), 3)
    found, wanted = EFFECTS[name](*pair, K, units), left_out(name, pair, units)
    assert np.corrcoef(found.single, wanted)[0, 1] > 0.95


def test_effects_of_pairs_on_lists_by_hand(pair):
    """Of two samples: what the value of either changes if the other is left out."""

    def overlaps(keep):
        x, y = (side.subset(keep).knn(K)[0] for side in pair)
        return dict(zip(keep, [len({*a} & {*b}) / K for a, b in zip(x, y, strict=True)], strict=True))

    everything = np.arange(N)
    whole, without = overlaps(everything), [overlaps(np.delete(everything, i)) for i in everything]
    total = sum(
        ((without[j][i] - whole[i] + without[i][j] - whole[j]) / N) ** 2 for i in everything for j in everything[:i]
    )
    assert EFFECTS["mutual_knn"](*pair, K, everything).pairs.sum() == pytest.approx(total)


@pytest.mark.parametrize("shared", [True, False])
def test_effects_of_pairs_on_a_regression_are_about_those_of_leaving_out_two(shared):
    """At the penalty that is best with all samples, as nearly as second differences are at this n."""
    n = 100
    sides = drawn(np.random.default_rng(0), n, 1.0, shared)
    x, y = (Representation(name, [side]) for name, side in zip("xy", sides, strict=True))
    ridge = max(PENALTIES, key=lambda penalty: float(linear_regression(x, y, penalty)[0, 0]))

    def times_size(*without):
        keep = np.delete(np.arange(n), without)
        return len(keep) * float(linear_regression(x.subset(keep), y.subset(keep), ridge)[0, 0])

    one, whole = [times_size(i) for i in range(n)], times_size()
    pairs = EFFECTS["linear_regression"](x, y, None, np.arange(n)).pairs
    for i in range(3):
        wanted = [(whole - one[i] - one[j] + times_size(i, j)) / n for j in range(n) if j != i]
        assert pairs[i] == pytest.approx(np.square(wanted).sum() / 2, rel=0.25)


@pytest.mark.parametrize("count", [9, 3])
def test_effects_on_a_sum_over_pairs_by_hand(count):
    rng = np.random.default_rng(2)
    i, j = np.triu_indices(9)
    parts, units = rng.normal(size=len(i)), np.arange(9) % count
    found = of_pairs(parts, i, j, units)
    touches = np.array([(units[i] == unit) | (units[j] == unit) for unit in range(count)])
    np.testing.assert_allclose(found.single, touches @ parts)
    between = [parts[touches[a] & touches[b]].sum() ** 2 for a in range(count) for b in range(a)]
    assert found.pairs.sum() == pytest.approx(sum(between))
    assert found.least.sum() == pytest.approx(LEAST_OF_PAIRS * sum(between))


def test_a_plain_mean_has_its_plain_variance():
    values = np.random.default_rng(3).normal(size=50)
    none = np.array([], int)
    found = of_means(values, none, none, none.astype(float), np.arange(50))
    assert found.variance == pytest.approx(values.var(ddof=1) / 50)
    assert 4 <= found.degrees <= 49


def test_few_unequal_units_leave_few_degrees_of_freedom():
    even, uneven = np.tile([1.0, -1], 50), np.append(np.zeros(99), 1.0)
    zero = np.zeros(100)
    assert Effects(even, zero, zero).degrees == 99
    assert Effects(uneven, zero, zero).degrees == 4
    assert Effects(zero, even**2, uneven).degrees == 4  # where the least counts, its own


def test_the_larger_of_two_variances_counts():
    single, pairs = np.tile([1.0, -1], 50), np.full(100, 0.5)
    of_singles = 100 / 99 * 100 - 50
    assert Effects(single, pairs, np.full(100, 0.1)).variance == pytest.approx(of_singles)
    assert Effects(single, pairs, np.full(100, 0.9)).variance == pytest.approx(90)
    assert Effects(single, 3 * pairs, np.full(100, 0.1)).variance == pytest.approx(
        10
    )  # the jackknife's less pairs: < 0


@pytest.mark.parametrize("name", ["mutual_knn", "lcs_knn", "cknna", "unbiased_cka", "rsa"])
def test_near_chance_variance_is_that_of_fresh_draws_where_a_jackknife_doubles_it(name):
    draws, n = 120, 60
    scores, estimated, jackknife = [], [], []
    for seed in range(draws):
        sides = drawn(np.random.default_rng(seed), n, shared=False)
        x, y = (Representation(side, [features]) for side, features in zip("xy", sides, strict=True))
        found = EFFECTS[name](x, y, K, np.arange(n))
        scores.append(score(name, x, y))
        estimated.append(found.variance)
        jackknife.append(n * np.var(found.single, ddof=1))
    true = np.var(scores, ddof=1)
    assert np.mean(estimated) / true == pytest.approx(1, abs=0.35)
    assert np.mean(jackknife) / true > 1.3


def test_groups_that_are_alike_within_make_the_interval_wider():
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 4)
    x, y = (side[groups] + 0.3 * rng.normal(size=(160, 4)) for side in drawn(rng, 40))
    for metric in ("mutual_knn", "unbiased_cka", "procrustes"):
        alone, grouped = (align(x, y, metric, k=K, subsamples=40, groups=of).interval for of in (None, groups))
        assert np.ptp(grouped) > 1.2 * np.ptp(alone), metric


def test_halves_give_the_variance_of_a_mean():
    rng = np.random.default_rng(5)
    values = rng.normal(size=200)
    splits = [intervals.halves(rng, 200, None) for _ in range(2000)]
    means = np.array([[values[half].mean() for half in split] for split in splits])
    for kind in (intervals.by_spread, intervals.by_contrast):
        assert kind(means).variance == pytest.approx(values.var(ddof=1) / 200, rel=0.1)
    assert intervals.by_contrast(np.array([[1.0, 3], [2, 2]])) == (0.5, 2)
    assert intervals.by_spread(np.array([[1.0, 3], [2, 2]])) == (pytest.approx(2 / 3), 3)


@pytest.mark.parametrize("degrees", [4, 30.5])
def test_ends_by_hand(degrees):
    spread = intervals.Spread(0.04, degrees)
    margin = stats.t.ppf(0.95, degrees) * 0.2
    assert intervals.ends(0.2, spread, 0.1, bounded=False) == pytest.approx((0.2 - margin, 0.2 + margin))
    assert intervals.ends(0.9, spread, 0.1, bounded=True) == pytest.approx((0.9 - margin, 1.0))
    low, high = intervals.ends(0.2, spread, 0.1, bounded=False, optimism=0.1)
    assert (low, high) == pytest.approx((0.2 - 0.1 / 2**0.5 - margin, 0.2 - 0.1 / 2**0.5 + margin))
    assert intervals.ends(0.2, spread, 0.1, bounded=False, optimism=-0.1) == pytest.approx((0.2 - margin, 0.2 + margin))


def test_where_nothing_varies_there_is_no_interval(pair):
    x = pair[0].layers[0].numpy()
    assert align(x, x.copy(), "mutual_knn", k=K, subsamples=10).interval is None
    assert align(x, x.copy(), "procrustes", subsamples=10).interval in (None, pytest.approx((1, 1)))  # but for rounding
    assert intervals.ends(0.5, intervals.Spread(float("nan"), 3), 0.05, bounded=True) is None


def test_a_share_of_all_is_not_certain():
    """36 of 36 found again say that few are not, not that none are."""
    x = drawn(np.random.default_rng(6))[0]
    found = align(x, x.copy(), "cycle_knn", k=12, subsamples=10)
    assert found.best == 1
    assert 0.8 < found.interval[0] < 0.98
    assert found.interval[1] == 1


def test_lists_too_short_to_leave_a_sample_out_are_refused_in_words(pair):
    tables = [Representation(side.name, neighbours=list(side.knn(K))) for side in pair]
    for x, y, k in ((*tables, K), (*pair, N - 1)):
        with pytest.raises(ValueError, match=f"fewer than k = {k} neighbours; lower k"):
            interval(x, y, "mutual_knn", k, (0, 0), 0.5, 10, np.random.default_rng(0))


def test_lists_one_deeper_than_k_are_enough(pair):
    tables = [Representation(side.name, neighbours=list(side.knn(K + 1))) for side in pair]
    rng = np.random.default_rng(0)
    one, two = (interval(x, y, "mutual_knn", K, (0, 0), 0.5, 10, rng) for x, y in (pair, tables))
    assert one == two


def test_what_is_too_large_for_the_memory_is_drawn_in_halves():
    x, y = drawn(np.random.default_rng(7), 60)
    small = [Representation(name, [side], memory_gb=1e-4) for name, side in zip("xy", (x, y), strict=True)]
    assert EFFECTS["cka"](*small, None, np.arange(60)) is None
    low, high = interval(*small, "cka", None, (0, 0), 0.5, 20, np.random.default_rng(0))
    assert low < 0.5 < high


def test_the_chosen_interval_lies_below_by_the_optimism():
    rng = np.random.default_rng(8)
    xs, ys = ([side + 0.3 * rng.normal(size=side.shape) for _ in range(5)] for side in drawn(rng, 80))
    found = align(xs, ys, "unbiased_cka", subsamples=10, splits=5)
    assert found.optimism > 0
    np.testing.assert_allclose(
        np.subtract(found.interval, found.chosen_interval), found.optimism / np.sqrt(2), atol=1e-12
    )
    assert align(xs, ys, "unbiased_cka", subsamples=10).chosen_interval is None
