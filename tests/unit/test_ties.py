"""Equally near samples stand in an order of each model's own, so that chance stays chance."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prh.alignment import comparisons
from prh.alignment.comparisons import Settings, SweptModel, sweep_row
from prh.core import ties
from prh.core.alignment import align, compare
from prh.core.metrics import METRICS, Representation
from prh.core.neighbour_lists import restrict
from prh.core.neighbours import nearest
from prh.core.preparation import prepare
from prh.core.scoring import scores
from prh.figures import style
from tests.unit import reference

NEIGHBOURS = [name for name in sorted(METRICS) if METRICS[name].needs_k]
N = 60


def classes(rng, n):
    return np.eye(4)[rng.integers(0, 4, n)]


def half_identical(rng, n):
    x = rng.normal(size=(n, 8))
    x[rng.random(n) < 0.5] = x[0]
    return x


def concentrated(rng, n):
    """A spread of 3e-4 on a common offset: most cosines are equal in float32."""
    return 3 * rng.normal(size=32) + 3e-4 * rng.normal(size=(n, 32))


def quantised(rng, n):
    return rng.integers(-1, 2, size=(n, 2)) + np.r_[3, 0]


def bfloat16(rng, n):
    """Features of half precision on a common offset have few values."""
    return torch.tensor(3 + 0.006 * rng.normal(size=(n, 3))).bfloat16().double().numpy()


def sparse(rng, n):
    """After a ReLU: rows have few values, many only the bias."""
    return np.maximum(rng.normal(size=(n, 4)) - 1.2, 0) + np.r_[0.1, np.zeros(3)]


def duplicated(rng, n):
    return rng.normal(size=(6, 8))[rng.integers(0, 6, n)]


KINDS = [classes, half_identical, concentrated, quantised, bfloat16, sparse, duplicated]


def independent(kind, seed, n=N, layers=1):
    """Two models that know nothing of each other, as prepared layers."""
    rng = np.random.default_rng([seed, 11])
    return [[prepare(kind(rng, n).astype(np.float32), clamp=None) for _ in range(layers)] for _ in range(2)]


def p_values(kind, metric, draws=40, n=N, k=4, **options):
    models = (independent(kind, seed, n, **options) for seed in range(draws))
    return np.array([align(*pair, metric, k, permutations=19, seed=seed).p for seed, pair in enumerate(models)])


@pytest.mark.parametrize(
    "metric", [pytest.param(name, marks=[] if name == "mutual_knn" else pytest.mark.slow) for name in NEIGHBOURS]
)
@pytest.mark.parametrize("kind", KINDS)
def test_chance_is_significant_in_one_of_twenty(kind, metric):
    """Of 40 draws at most 6 have p <= 0.05: by chance more have it in 3 of 1,000 trials, with ties by index most do."""
    p = p_values(kind, metric)
    assert (p <= 0.05).sum() <= 6
    assert p.mean() > 0.35


@pytest.mark.parametrize("kind", KINDS)
def test_ties_by_index_would_be_found_significant(kind, monkeypatch):
    monkeypatch.setattr(ties, "priorities", lambda key, samples, candidates: 2**32 - 1 - candidates.expand(
        len(samples), candidates.shape[-1]))  # fmt: skip
    assert (p_values(kind, "mutual_knn", draws=10) <= 0.05).mean() > 0.5


def test_the_maximum_over_layers_is_at_chance_too():
    p = p_values(classes, "mutual_knn", layers=4)
    assert (p <= 0.05).sum() <= 6


@pytest.mark.parametrize("kind", KINDS)
def test_curves_over_n_are_at_chance(kind):
    settings = Settings(k=(3,), permutations=19, subsamples=0, splits=0, alpha=0.05, seed=0)
    found = []
    for seed in range(40):
        x, y = independent(kind, seed)
        found += sweep_row(SweptModel("x", x), [SweptModel("y", y)], "mutual_knn", [20], settings)["p"].to_list()
    assert (np.array(found) <= 0.05).sum() <= 6


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_cross_fitted_scores_are_at_chance(kind, listed):
    """In halves of the samples, from features and from lists: k / (n / 2 - 1) for models that know nothing of each other."""
    found = []
    for seed in range(30):
        sides = independent(kind, seed, layers=2)
        if listed:
            sides = [[nearest(layer, N - 1, key=ties.key_of(name, i)).indices for i, layer in enumerate(side)]
                     for name, side in zip("xy", sides, strict=True)]  # fmt: skip
        x, y = (
            Representation(name, None if listed else side, side if listed else None)
            for name, side in zip("xy", sides, strict=True)
        )
        found.append(compare(x, y, k=4, splits=1).crossfitted)
    assert np.mean(found) == pytest.approx(4 / 29, abs=4 * np.std(found) / np.sqrt(30))


# The order itself ---------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None, derandomize=True)
@given(name=st.text(max_size=12), layer=st.integers(0, 200), i=st.integers(0, 10**7), j=st.integers(0, 10**7))
def test_places_are_those_of_the_plain_hash(name, layer, i, j):
    place = ties.priorities(ties.key_of(name, layer), torch.tensor([i]), torch.tensor([j, j + 1]))
    assert place.tolist() == [[reference.lot(name, layer, i, j), reference.lot(name, layer, i, j + 1)]]


def test_no_two_candidates_share_a_place():
    places = ties.priorities(ties.key_of("m", 0), torch.arange(3), torch.arange(200_000))
    assert all(len(set(row.tolist())) == 200_000 for row in places)
    assert places.min() >= 0
    assert places.max() < 2**32


def test_orders_of_samples_layers_and_models_are_uniform_and_independent():
    def order(name, layer):
        return ties.priorities(ties.key_of(name, layer), torch.arange(300), torch.arange(300)).numpy() / 2**32

    whole = {which: order(*which) for which in (("a", 0), ("a", 1), ("b", 0))}
    for places in whole.values():
        assert places.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * places.size))
        counts, _ = np.histogram(places, 16, (0, 1))
        assert ((counts - places.size / 16) ** 2 / (places.size / 16)).sum() < 45  # chi squared, 15 degrees
        between_rows = np.corrcoef(places)[np.triu_indices(300, 1)]
        assert np.abs(between_rows).max() < 5.5 / np.sqrt(300)
        assert between_rows.std() == pytest.approx(1 / np.sqrt(300), rel=0.05)
    for one, other in (("a", 0), ("a", 1)), (("a", 0), ("b", 0)):
        assert abs(np.corrcoef(whole[one].ravel(), whole[other].ravel())[0, 1]) < 4 / 300
    symmetric = np.corrcoef(whole["a", 0][np.triu_indices(300, 1)], whole["a", 0].T[np.triu_indices(300, 1)])[0, 1]
    assert abs(symmetric) < 4 / np.sqrt(300 * 299 / 2)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=20), seed=st.integers(0, 10**6))
def test_sorting_is_by_value_and_then_by_place(values, seed):
    values = np.array([*values, -0.0, 0.0], np.float32)
    places = np.random.default_rng(seed).permutation(2**32 - 1 - np.arange(len(values)))
    wanted = sorted(range(len(values)), key=lambda i: (values[i] + 0.0, places[i]))
    found = ties.sortable(torch.from_numpy(values), torch.from_numpy(places)).argsort()
    assert found.tolist() == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_lists_do_not_depend_on_tiles_threads_or_memory(kind):
    x = independent(kind, 0, n=300)[0][0]
    key = ties.key_of("m", 3)
    whole, threads = nearest(x, 12, key=key), torch.get_num_threads()
    np.testing.assert_array_equal(nearest(x, 12, key=key, memory_gb=1e-4).indices, whole.indices)
    np.testing.assert_array_equal(nearest(x, 12, key=key, gallery=x.copy(), own=np.arange(300)).indices, whole.indices)
    np.testing.assert_array_equal(
        nearest(x[40:60], 12, key=key, gallery=x, own=np.arange(40, 60)).indices, whole.indices[40:60]
    )
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        np.testing.assert_array_equal(nearest(x, 12, key=key).indices, whole.indices)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_of_a_part_are_those_of_the_whole(kind):
    x, keep = independent(kind, 1)[0][0], np.random.default_rng(1).permutation(N)[:30]
    key = ties.key_of("m", 0)
    wanted = restrict(nearest(x, N - 1, key=key).indices, keep, 5)
    np.testing.assert_array_equal(nearest(x[keep], 5, key=key, numbers=keep).indices, wanted)
    np.testing.assert_array_equal(Representation("m", [x]).subset(keep).knn(5)[0], wanted)


def test_a_layer_has_its_order_whatever_stands_beside_it():
    x = independent(classes, 2, layers=3)[0]
    whole = Representation("m", x).knn(5)
    for i in range(3):
        np.testing.assert_array_equal(Representation("m", x).layer(i).knn(5)[0], whole[i])
    assert (whole[0] != Representation("m", x[1:]).knn(5)[0]).any(), "another layer has another order"
    assert not np.array_equal(whole, Representation("other", x).knn(5))


def test_features_without_a_name_have_an_order_of_their_content():
    x, y = (pair[0] for pair in independent(classes, 3))
    np.testing.assert_array_equal(nearest(x, 5).indices, nearest(x.copy(), 5).indices)
    p = []
    for seed in range(40):
        x, y = (pair[0] for pair in independent(classes, seed))
        sides = [Representation(name, None, [nearest(z, 4).indices]) for name, z in (("x", x), ("y", y))]
        p.append(compare(*sides, k=4, permutations=19, seed=seed).p)
    assert (np.array(p) <= 0.05).sum() <= 6


# What ties do to scores, and where they are told ----------------------------------------------------------------------


def test_a_model_with_ties_does_not_agree_with_itself_under_another_name():
    x = independent(classes, 4)[0]
    one, other = Representation("one", x), Representation("other", x)
    assert scores(one, one, "mutual_knn", 3)[0, 0] == 1
    assert scores(one, other, "mutual_knn", 3)[0, 0] < 0.7
    distinct = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    assert align(distinct, distinct, k=3).best == 1


def test_two_models_of_one_name_are_refused_where_they_have_ties():
    x, y = independent(classes, 5)
    with pytest.raises(ValueError, match=r"both models are called 'm' and have ties.*give them different names"):
        scores(Representation("m", x), Representation("m", y), "mutual_knn", 3)
    x, y = (np.random.default_rng(seed).normal(size=(N, 5)).astype(np.float32) for seed in (0, 1))
    assert scores(Representation("m", [x]), Representation("m", [y]), "mutual_knn", 3).shape == (1, 1)


def test_models_with_many_ties_are_named_in_tables_and_notes():
    x = Representation("tied", independent(classes, 6)[0])
    y = Representation("plain", [np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)])
    quiet = Settings(k=(3,), permutations=0, subsamples=0, splits=0, alpha=0.05, seed=0)
    _, best = comparisons.row(x, [y], "mutual_knn", quiet)
    assert best.select("tied_x", "tied_y").row(0) == (True, False)
    assert ties.tied_models(best) == ["tied"]
    assert list(comparisons.remarks(best)) == [
        f"tied: the last neighbour of up to {best['ties_x'][0]:.0%} of the samples is one of several equally near ones"
    ]
    assert style.tied(ties.tied_models(best)) == (
        "Ties: more than 5 % of the k-th neighbours in tied are chosen at random."
    )
    assert style.tied([]) == ""
    assert ties.tied_models(pl.DataFrame({"model_x": ["a"]})) == []
    _, kernels = comparisons.row(x, [y], "cka", quiet)
    assert kernels.select("tied_x", "tied_y").row(0) == (None, None)
    assert ties.tied_models(kernels) == []
