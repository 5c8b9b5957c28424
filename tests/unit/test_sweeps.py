"""Curves over k and over n."""

import numpy as np
import pytest

from prh.alignment import Representation, align, scores
from prh.sweeps import over_k, over_n


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(200, 6))
    return [[(shared + rng.normal(size=(200, 6))).astype(np.float32) for _ in range(2)] for _ in range(2)]


def test_over_k_is_one_comparison_per_k(pair):
    x, y = (Representation(name, side) for name, side in zip("xy", pair, strict=True))
    found = over_k(x, y, [3, 50, 10], permutations=5)
    assert [one.k for one in found] == [3, 50, 10]
    for one in found:
        np.testing.assert_array_equal(one.scores, align(*pair, k=one.k).scores)
        assert one.calibrated is not None


def test_over_n_with_the_whole_as_queries_is_a_plain_comparison(pair):
    found = over_n(*pair, sizes=[200], ks=[10], queries=200)
    np.testing.assert_allclose(found[0].scores, align(*pair, k=10).scores)


@pytest.mark.parametrize("metric", ["mutual_knn", "jaccard_knn", "lcs_knn", "edit_distance_knn"])
def test_over_n_keeps_the_queries_and_grows_the_gallery(pair, metric):
    found = over_n(*pair, sizes=[50, 100, 200], ks=[5, 0.1], queries=50, metric=metric, permutations=30)
    assert [(one.n, one.k) for one in found] == [(50, 5), (50, 5), (100, 5), (100, 10), (200, 5), (200, 20)]
    order = np.random.default_rng(0).permutation(200)
    whole = [[layer[order] for layer in side] for side in pair]
    tables = [Representation(name, side) for name, side in zip("xy", whole, strict=True)]
    queries = [Representation(t.name, neighbours=[table[:50] for table in t.knn(5)], gallery=200) for t in tables]
    np.testing.assert_allclose(found[4].scores, scores(*queries, metric, 5))
    fixed_k = [one.null.mean() for one in found[::2]]
    assert fixed_k[0] > fixed_k[1] > fixed_k[2]  # chance falls with n at fixed k


def test_the_null_of_queries_is_at_chance(pair):
    found = over_n([pair[0][0]], [pair[1][0]], sizes=[200], ks=[10], queries=100, permutations=200)[0]
    assert found.null.mean() == pytest.approx(10 / 199, abs=4 * found.null.std() / np.sqrt(200))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cka"}, "cka needs more than"),
        ({"metric": "cycle_knn"}, "cycle_knn needs more than"),
        ({"sizes": [100, 300]}, "they must lie between"),
        ({"sizes": [40]}, "they must lie between"),
    ],
)
def test_bad_sweeps_are_refused(pair, options, message):
    with pytest.raises(ValueError, match=message):
        over_n(*pair, **{"sizes": [100], "ks": [5], "queries": 50, **options})
