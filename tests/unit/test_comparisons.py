"""Rows of many models, and the groups of their samples."""

import numpy as np

from prh.alignment import comparisons
from prh.alignment.comparisons import Settings, SweptModel, sweep_row
from prh.core.evidence import random_order
from prh.core.metrics import Representation


def clusters(rng, groups):
    """Samples near those of their group, which are anywhere."""
    centres = rng.normal(size=(groups.max() + 1, 8))[groups]
    return [(centres + 0.1 * rng.normal(size=centres.shape)).astype(np.float32)]


def test_a_sweep_permutes_groups_as_wholes():
    """Clusters known to both models, matched at random: free permutations call that alignment at every n."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(60), 3))
    settings = Settings(k=(2,), permutations=99, subsamples=0, splits=0, alpha=0.05, seed=0)
    free, whole = [], []
    for _ in range(5):
        x, y = clusters(rng, groups), clusters(rng, groups)
        for found, given in ((free, None), (whole, groups)):
            found += sweep_row(SweptModel("x", x), [SweptModel("y", y)], "mutual_knn", [90, 180], settings, given)[
                "p"
            ].to_list()
    assert max(free) < 0.05
    assert np.median(whole) > 0.1


def test_groups_of_a_gallery_stay_whole_in_it():
    labels = np.repeat(np.arange(20), 3)
    order = comparisons._sweep_order(60, 0, np.random.default_rng(1).permutation(labels))
    assert sorted(order) == list(range(60))
    in_order = np.random.default_rng(1).permutation(labels)[order]
    assert (in_order.reshape(20, 3) == in_order[::3, None]).all()
    x = Representation("x", neighbours=[np.arange(30)[:, None] + [1, 2]], gallery=60)
    order = random_order(np.random.default_rng(0), x, labels)
    assert sorted(order[:30]) == list(range(30)), "queries stay among queries"
    assert (labels[order].reshape(20, 3) == labels[order][::3, None]).all()
    assert not np.array_equal(order[30:], np.arange(30, 60))


def test_large_groups_of_a_gallery_do_not_come_first():
    """By their first member they would: half of the samples are one group, which then leads in half of the orders."""
    labels = np.r_[np.zeros(50, int), np.arange(1, 51)]
    leads = [labels[comparisons._sweep_order(100, seed, labels)[0]] == 0 for seed in range(100)]
    assert np.mean(leads) < 0.15  # 1 / 51 is expected
