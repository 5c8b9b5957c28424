"""Thresholds, p-values, calibrated scores, false discovery rates and permutations."""

import numpy as np
import pytest

from prh.core import calibration
from prh.core.calibration import (
    benjamini_hochberg,
    calibrated,
    numbered,
    p_value,
    permutation,
    require_exchangeable,
    threshold,
)


def test_threshold_is_the_ceil_of_the_share_of_all_scores():
    null = np.arange(1, 20.0)  # with the observed score: 20 values, the 19th smallest is the threshold at 0.05
    assert threshold(100.0, null) == 19
    assert threshold(0.0, null) == 18
    assert threshold(999.0, np.arange(1, 500.0)) == 475  # 0.95 * 500 is 475, whatever floating point makes of it
    assert threshold(100.0, null, alpha=0.5) == 10


def test_p_values_are_never_zero_and_count_ties():
    null = np.array([0.1, 0.2, 0.3])
    assert p_value(0.4, null) == 1 / 4
    assert p_value(0.3, null) == 2 / 4
    assert p_value(0.0, null) == 1


def test_calibrated_score():
    assert calibrated(0.5, 0.2, bounded=True) == pytest.approx(0.375)
    assert calibrated(0.1, 0.2, bounded=True) == 0
    assert calibrated(1.0, 0.2, bounded=True) == 1
    assert calibrated(1.0, 1.0, bounded=True) == 0
    with pytest.raises(ValueError, match="can exceed 1"):
        calibrated(0.5, 0.2, bounded=False)


def test_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(0)
    p = [p_value(scores[0], scores[1:]) for scores in rng.normal(size=(4000, 20))]
    counts = np.bincount(np.round(np.array(p) * 20).astype(int), minlength=21)[1:]
    assert np.abs(counts - 200).max() < 5 * np.sqrt(200)


def test_benjamini_hochberg_by_hand():
    q = benjamini_hochberg(np.array([[0.01, 0.04], [0.03, 0.5]]))
    np.testing.assert_allclose(q, [[0.04, 0.16 / 3], [0.16 / 3, 0.5]])


@pytest.mark.parametrize("p", [[], [0.1, np.nan], [1.1], [-0.1]])
def test_bad_p_values_are_refused(p):
    with pytest.raises(ValueError, match="p-values must"):
        benjamini_hochberg(np.array(p))


@pytest.mark.parametrize(("observed", "null"), [(np.nan, [1.0]), (1.0, [np.nan]), (1.0, []), (1.0, [[1.0]])])
def test_bad_nulls_are_refused(observed, null):
    with pytest.raises(ValueError, match="finite numbers"):
        p_value(observed, np.array(null))
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        threshold(1.0, np.array([1.0]), alpha=1.5)


def test_permutations_exchange_whole_groups_of_equal_size():
    groups = np.array(list("aabbccdddeef"))
    rng, seen = np.random.default_rng(1), set()
    for _ in range(300):
        order = permutation(rng, 12, groups)
        assert sorted(order) == list(range(12))
        for group in np.unique(groups):  # each group holds one whole group, in its order
            block = order[groups == group]
            assert len(set(groups[block])) == 1
            assert (np.diff(block) > 0).all()
        assert order[11] == 11  # the only group of its size stays
        seen.add(tuple(order))
    assert len(seen) == 24  # 4! orders of the four pairs; the triple stays


def test_groups_of_one_are_free_permutations():
    orders = [permutation(np.random.default_rng(seed), 5, np.arange(5)) for seed in range(200)]
    assert len({tuple(order) for order in orders}) > 90


def test_groups_that_cannot_be_exchanged_are_refused():
    with pytest.raises(ValueError, match="only 1 ways"):
        require_exchangeable(np.array([0, 1, 1, 2, 2, 2]), 10)
    require_exchangeable(np.arange(6), 100)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(5), r"one group per sample, \[6\]"),
        (np.arange(7), r"one group per sample, \[6\]"),
        (np.zeros(6), "a single group"),
        (np.array(["a", "b", None] * 2), "all numbers or all strings"),
    ],
)
def test_groups_must_be_of_all_samples_and_several(groups, message):
    with pytest.raises(ValueError, match=message):
        numbered(groups, 6)


def test_groups_keep_the_null_honest():
    """Clusters known to both models, matched at random: free permutations find 'alignment', block permutations do not."""
    rng = np.random.default_rng(2)
    from prh.core.alignment import align

    groups = np.repeat(np.arange(40), 3)
    p_free, p_block = [], []
    for _ in range(8):
        x, y = (np.repeat(rng.normal(size=(40, 8)), 3, axis=0) + 0.1 * rng.normal(size=(120, 8)) for _ in range(2))
        p_free.append(align(x, y, k=2, permutations=99).p)
        p_block.append(align(x, y, k=2, permutations=99, groups=groups).p)
    assert max(p_free) == 0.01
    assert np.median(p_block) > 0.1


def test_names_are_light():
    assert "torch" not in vars(calibration)
