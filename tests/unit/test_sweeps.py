"""Curves over n: the same queries in growing galleries."""

import numpy as np
import pytest

from prh.alignment.comparisons import Settings, SweptModel, sweep_row
from prh.core.alignment import align, compare
from prh.core.metrics import METRICS, Representation
from prh.core.scoring import scores
from prh.core.sweeps import can_sweep, in_gallery

SETTINGS = {"permutations": 30, "subsamples": 0, "splits": 0, "alpha": 0.05, "seed": 0}


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(200, 6))
    return [[(shared + rng.normal(size=(200, 6))).astype(np.float32) for _ in range(2)] for _ in range(2)]


def swept(pair, sizes, ks, metric="mutual_knn"):
    return sweep_row(
        SweptModel("x", pair[0]), [SweptModel("y", pair[1])], metric, sizes, Settings(k=tuple(ks), **SETTINGS)
    )


def test_the_whole_as_queries_is_a_plain_comparison(pair):
    found = swept(pair, [200], [10])
    assert found["score"].to_list() == [align(*pair, k=10).best]


@pytest.mark.parametrize("metric", ["mutual_knn", "jaccard_knn", "lcs_knn", "edit_distance_knn"])
def test_a_sweep_keeps_the_queries_and_grows_the_gallery(pair, metric):
    found = swept(pair, [50, 100, 200], [5, 10], metric)
    assert list(found.select("n", "k").iter_rows()) == [(n, k) for n in (50, 100, 200) for k in (5, 10)]
    order = np.random.default_rng(0).permutation(200)
    whole = [Representation(name, [layer[order] for layer in side]) for name, side in zip("xy", pair, strict=True)]
    queries = [Representation(t.name, neighbours=[table[:50] for table in t.knn(5)], gallery=200) for t in whole]
    assert found["score"][4] == pytest.approx(scores(*queries, metric, 5).max())
    at_fixed_k = found["null_mean"].to_list()[::2]
    assert at_fixed_k[0] > at_fixed_k[1] > at_fixed_k[2]  # chance falls with n at fixed k


def test_the_null_of_queries_is_at_chance(pair):
    order = np.random.default_rng(0).permutation(200)
    x, y = (in_gallery(name, side[:1], order, 100, 10) for name, side in zip("xy", pair, strict=True))
    null = compare(x, y, k=10, permutations=200).null
    assert null.mean() == pytest.approx(10 / 199, abs=4 * null.std() / np.sqrt(200))


def test_metrics_that_look_beyond_the_queries_lists_are_not_swept():
    assert {name for name in METRICS if can_sweep(name)} == {
        "mutual_knn",
        "jaccard_knn",
        "lcs_knn",
        "edit_distance_knn",
    }


def test_a_gallery_beyond_the_samples_is_refused(pair):
    with pytest.raises(ValueError, match=r"alignment\.n asks for 300 samples, but there are 200; lower it"):
        swept(pair, [100, 300], [5])
