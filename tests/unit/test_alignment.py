"""From layers to an Alignment: preparation, choice of the layer pair, null, interval, cross-fitting."""

from collections import Counter

import numpy as np
import pytest

from prh.core import alignment, neighbour_lists
from prh.core.alignment import align, compare
from prh.core.intervals import halves
from prh.core.metrics import METRICS, Representation
from prh.core.metrics.base import device_of
from prh.core.neighbour_lists import restrict
from prh.core.neighbours import nearest
from prh.core.preparation import prepare
from prh.core.scoring import best_pair, scores


def layers(rng, n=60, widths=(5, 8, 6), shared=None):
    return [rng.normal(size=(n, d)).astype(np.float32) + (0 if shared is None else shared[:, :d]) for d in widths]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(60, 8)).astype(np.float32)
    return layers(rng, shared=shared), layers(rng, widths=(7, 4), shared=shared)


def test_prepare_clamps_at_the_floor_of_the_count():
    x = np.arange(1, 21, dtype=np.float32).reshape(10, 2) * np.array([1, -1], np.float32)
    prepared = prepare(x, clamp=0.9, normalise=False)
    np.testing.assert_array_equal(prepared, np.clip(x, -19, 19))  # the element at place 18 of 1 ... 20
    np.testing.assert_array_equal(prepare(x, clamp=1.0, normalise=False), x)
    np.testing.assert_array_equal(prepare(x, clamp=None, normalise=False), x)


def test_prepare_normalises_rows():
    x = np.random.default_rng(1).normal(size=(10, 4))
    prepared = prepare(x, clamp=None)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-6)


def test_prepare_takes_a_quantile_per_layer_or_one_for_all():
    rng = np.random.default_rng(2)
    small, large = rng.normal(size=(2, 50, 4)) * [[[1]], [[10]]]
    own = prepare([small, large], normalise=False)
    assert [np.abs(layer).max() for layer in own] == pytest.approx(
        [np.sort(np.abs(layer).ravel())[190] for layer in (small, large)], rel=1e-6
    )
    common = np.sort(np.abs([small, large]).ravel())[380]
    together = prepare([small, large], normalise=False, clamp_scope="global")
    np.testing.assert_allclose(together, np.clip([small, large], -common, common), rtol=1e-6)


def test_prepare_never_returns_the_memory_of_the_caller():
    x = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    prepared = prepare(x, clamp=None, normalise=False)
    prepared[:] = 0
    assert x.all()


def test_prepare_keeps_tensors_tensors():
    torch = pytest.importorskip("torch")
    x = torch.randn(10, 4, dtype=torch.bfloat16)
    prepared = prepare([x])
    assert isinstance(prepared[0], torch.Tensor)
    assert prepared[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.zeros((3, 2)), {"clamp": None}, "x: row 0 is all zeros"),
        (np.ones((3, 2), int), {}, "x holds int64"),
        ([np.ones((3, 2)), np.full((3, 2), np.nan)], {}, "layer 1 holds NaN"),
        (np.ones(3), {}, "x has shape"),
        ([], {"clamp_scope": "global"}, "x is an empty list"),
        (np.ones((3, 2)), {"clamp": 95}, "clamp is 95"),
        (np.ones((3, 2)), {"clamp_scope": "model"}, "clamp_scope is 'model'"),
    ],
)
def test_prepare_refuses(x, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(x, **options)


def test_align_reports_the_best_layer_pair(pair):
    xs, ys = pair
    found = align(xs, [*ys, xs[1]], k=5)
    assert found.best == 1
    assert found.layers == (1, 2)
    assert found.scores.shape == (3, 3)
    assert (found.metric, found.k, found.n) == ("mutual_knn", 5, 60)
    assert found.null is found.p is found.interval is found.crossfitted is None
    assert align(xs[0], ys[0], metric="cka").k is None


def test_equal_scores_give_the_lowest_pair():
    assert best_pair(np.array([[0.1, 0.3], [0.3, 0.3]])) == (0.3, (0, 1))
    assert best_pair(np.array([[-0.5, -0.2]])) == (-0.2, (0, 1))  # a best score below 0 is still a best score


def test_neighbour_tables_are_all_a_comparison_needs(pair):
    xs, ys = pair
    by_tables = [Representation("", neighbours=[nearest(layer, 59).indices for layer in side]) for side in pair]
    settings = {"k": 5, "permutations": 20, "subsamples": 10, "splits": 3, "seed": 4}
    one, two = compare(*by_tables, **settings), align(xs, ys, **settings)
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.null, two.null)
    assert (one.interval, one.crossfitted, one.optimism) == (two.interval, two.crossfitted, two.optimism)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_the_null_is_the_maximum_over_permuted_layers(metric, pair):
    xs, ys = pair
    x, y = Representation("x", xs), Representation("y", ys)
    found = compare(x, y, metric, 5, permutations=3, seed=7)
    rng = np.random.default_rng([7, 0])
    orders = [rng.permutation(60) for _ in range(3)]
    wanted = [scores(x, Representation("y", [layer[order] for layer in ys]), metric, 5).max() for order in orders]
    np.testing.assert_allclose(found.null, wanted, atol=1e-5)
    assert (found.calibrated is not None) == METRICS[metric].bounded


def test_seeds_repeat_and_streams_do_not_mix(pair):
    one, two = align(*pair, k=5, permutations=10, seed=1), align(*pair, k=5, permutations=10, subsamples=5, seed=1)
    np.testing.assert_array_equal(one.null, two.null)
    assert not np.array_equal(one.null, align(*pair, k=5, permutations=10, seed=2).null)


def test_mean_of_the_null_of_one_pair_is_chance():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 200, 6)).astype(np.float32)
    null = align(x, y, k=10, permutations=200).null
    assert null.mean() == pytest.approx(10 / 199, abs=4 * null.std() / np.sqrt(200))


def test_the_interval_has_the_width_of_repeated_experiments():
    """Over fresh draws of the samples, the spread of the score is what the interval of each single draw says."""
    rng = np.random.default_rng(4)
    best, halfwidths = [], []
    for _ in range(30):
        shared = rng.normal(size=(100, 4))
        x, y = (shared + 0.5 * rng.normal(size=(100, 4)) for _ in range(2))
        found = align(x, y, k=10, subsamples=20)
        best.append(found.best)
        halfwidths.append((found.interval[1] - found.interval[0]) / 2)
    assert np.mean(halfwidths) / 1.96 == pytest.approx(np.std(best), rel=0.4)


def test_crossfitting_takes_the_optimism_off():
    rng = np.random.default_rng(5)
    found = align(layers(rng, 100, (4,) * 8), layers(rng, 100, (4,) * 8), k=5, splits=20)
    assert found.crossfitted == pytest.approx(5 / 49, abs=0.01)  # unrelated models: chance at half the samples
    assert found.optimism > 0.02
    one = align(layers(rng, 100, (4,)), layers(rng, 100, (4,)), k=5, splits=5)
    assert one.optimism == pytest.approx(0, abs=1e-12)  # nothing to choose from


def test_halves_of_a_model_are_listed_once_for_all_others(pair, monkeypatch):
    x, y = (Representation("m", None, [nearest(layer, 30).indices for layer in layers]) for layers in pair)
    others = [Representation("other", None, y._tables) for _ in range(3)]
    restricted = []
    monkeypatch.setattr(
        neighbour_lists, "restrict", lambda table, *args: restricted.append(id(table)) or restrict(table, *args)
    )
    found = [compare(x, other, "mutual_knn", 3, splits=2) for other in others]
    assert len({a.crossfitted for a in found}) == 1
    assert Counter(restricted)[id(x._tables[0])] == 4, "two splits in two halves"
    assert Counter(restricted)[id(y._tables[0])] == 3 * 4


def test_groups_are_split_as_wholes(pair):
    groups = np.repeat(np.arange(20), 3)[np.random.default_rng(1).permutation(60)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = halves(rng, 60, groups)
        assert sorted([*one, *other]) == list(range(60))
        assert not set(groups[one]) & set(groups[other])
        assert len(one) == len(other) == 30
    assert 0 < align(*pair, k=5, permutations=10, subsamples=5, splits=2, groups=groups).p <= 1


@pytest.mark.parametrize("groups", [np.arange(20), np.arange(100), np.zeros(60)])
@pytest.mark.parametrize("evidence", ["permutations", "subsamples", "splits"])
def test_groups_that_do_not_fit_are_refused_whatever_they_are_for(pair, groups, evidence):
    with pytest.raises(ValueError, match=r"one group per sample, \[60\]|a single group"):
        align(*pair, k=5, groups=groups, **{evidence: 3})


def test_scores_that_are_not_numbers_name_the_layer_pair(pair):
    xs, ys = pair
    flat = np.tile(np.arange(3, dtype=np.float32), (60, 1)) + xs[0][:, :1]  # all rows correlate perfectly
    with pytest.raises(ValueError, match="rsa of x layer 0 and y layer 1 is not a number"):
        align(xs, [ys[0], flat], metric="rsa")


@pytest.mark.parametrize("width", [1, 3])
def test_rows_without_variance_are_named(pair, width):
    flat = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)[:, :width]
    flat[17] = 0.1
    with pytest.raises(ValueError, match=f"y, layer 1: row {17 if width == 3 else 0} is constant"):
        align(pair[0], [pair[1][0], flat], metric="rsa")


def test_unknown_metrics_and_too_few_subsamples_are_refused(pair):
    with pytest.raises(ValueError, match="there is no metric 'nearest'; choose one of cka"):
        align(*pair, metric="nearest")
    with pytest.raises(ValueError, match="subsamples is 1"):
        align(*pair, k=5, subsamples=1)


def test_ties_are_told_at_each_k_of_the_best_layers(pair):
    xs, ys = pair
    corners = np.eye(4, dtype=np.float32)[np.arange(60) % 4]  # 14 likes of each sample, then 45 others: ties but at 14
    found = align([xs[0], corners], [corners], k=14)
    assert found.layers == (1, 0)
    assert found.ties == (0, 0)
    assert align([xs[0], corners], [corners], k=13).ties == (1, 1)
    assert align(xs, ys, k=5).ties == (0, 0)
    assert align(xs, ys, metric="cka").ties is None
    tables = Representation("x", neighbours=[nearest(layer, 20).indices for layer in xs])
    assert compare(tables, tables, k=5).ties is None, "tables that say nothing of ties"


def test_products_are_taken_where_the_layers_lie_and_within_the_memory(pair, monkeypatch):
    torch = pytest.importorskip("torch")
    made = []
    monkeypatch.setattr(
        alignment, "Representation", lambda *_, **place: made.append(place) or Representation(*_, **place)
    )
    align(*pair, k=5, memory_gb=0.5)
    align(*pair, k=5, device="cpu:0")
    assert made[::2] == [{"device": "cpu", "memory_gb": 0.5}, {"device": "cpu:0", "memory_gb": 2.0}]
    assert device_of(pair[0][0], torch.zeros(2, device="meta")) == "meta"
    with pytest.raises(ValueError, match=r"memory_gb = 1e-09; raise it"):
        align(*pair, metric="rsa", memory_gb=1e-9)


@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="needs a GPU")
@pytest.mark.parametrize("metric", ["mutual_knn", "cka", "rsa", "pwcca"])
def test_evidence_is_the_same_on_a_gpu(metric, pair):
    import torch

    settings = {"metric": metric, "k": 5, "permutations": 5, "subsamples": 3, "splits": 2}
    gpu = align(*([torch.as_tensor(layer).cuda() for layer in side] for side in pair), **settings)
    cpu = align(*pair, **settings)
    np.testing.assert_allclose(gpu.null, cpu.null, atol=1e-5)
    np.testing.assert_allclose([*gpu.interval, gpu.crossfitted], [*cpu.interval, cpu.crossfitted], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"permutations": -1}, "permutations is -1 and splits 0; neither may be negative"),
        ({"splits": -1}, "permutations is 0 and splits -1; neither may be negative"),
        ({"subsamples": 5, "alpha": 2}, "alpha is 2; it must be between 0 and 1"),
    ],
)
def test_bad_evidence_is_refused(pair, options, message):
    with pytest.raises(ValueError, match=message):
        align(*pair, k=5, **options)


def test_the_example_in_the_docstring():
    import doctest

    import prh.core.alignment

    assert doctest.testmod(prh.core.alignment).failed == 0
