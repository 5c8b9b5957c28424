"""Exact neighbours: equal to a sort, at any tile, with ties in an order drawn by the key."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prh.core import neighbours
from prh.core.neighbours import nearest, restrict
from prh.core.ties import key_of
from tests.unit import reference

KEY = key_of("x", 0)  # as in reference.knn


def unit(rng, n, d):
    x = rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6), n=st.integers(3, 40), d=st.integers(1, 12), kind=st.sampled_from("abcd"), data=st.data()
)
def test_equal_to_a_stable_sort(seed, n, d, kind, data):
    rng = np.random.default_rng(seed)
    x = {
        "a": lambda: rng.normal(size=(n, d)),
        "b": lambda: rng.integers(-2, 3, size=(n, d)),  # many equal products
        "c": lambda: rng.normal(size=(n, d))[rng.integers(0, max(1, n // 3), n)],  # many equal rows
        "d": lambda: np.ones((n, d)) + 1e-8 * rng.normal(size=(n, d)),  # equal in float32
    }[kind]().astype(np.float32)
    k = data.draw(st.integers(1, n - 1))
    found = nearest(x, k, key=KEY)
    wanted = reference.knn(x, n - 1)
    np.testing.assert_array_equal(found.indices, wanted[:, :k])
    assert found.indices.dtype == np.int32
    similarity = np.array([[np.dot(a, b) for b in x.astype(np.float64)] for a in x.astype(np.float64)]).astype(
        np.float32
    )
    ordered = np.take_along_axis(similarity, wanted, axis=1)
    equal = np.pad(ordered[:, :-1] == ordered[:, 1:], ((0, 0), (0, 1)))
    np.testing.assert_allclose(found.ties, equal[:, :k].mean(axis=0), atol=1e-15)


@pytest.mark.parametrize("memory_gb", [1e-5, 2e-4, 1e-3, 1])
@pytest.mark.parametrize("within", [True, False])
def test_tiles_do_not_matter(memory_gb, within):
    """Tiles of 64, 115, 256 and 300 rows; with the least memory products do not serve both their samples."""
    rng = np.random.default_rng(0)
    x = unit(rng, 300, 16)
    x[100:110] = x[5]
    wanted = reference.knn(x, 12)
    where = {} if within else {"gallery": x.copy(), "own": np.arange(300)}
    tiled = nearest(x, 12, key=KEY, memory_gb=memory_gb, **where)
    np.testing.assert_array_equal(tiled.indices, wanted)
    np.testing.assert_array_equal(tiled.ties, nearest(x, 12).ties)
    assert tiled.ties.max() > 0


@pytest.mark.parametrize("decimals", [7, 1, 0])
@pytest.mark.parametrize("columns", [4096, 1031, 90])
def test_the_largest_of_long_rows(columns, decimals):
    """Rounded, many are equal, and far more than the wanted ones reach any floor."""
    products = torch.randn(50, columns, generator=torch.Generator().manual_seed(0)).round(decimals=decimals)
    for matrix in (products, products.T.contiguous().T):
        values, places = neighbours._largest(matrix, 5)
        torch.testing.assert_close(values, products.topk(5, dim=1).values)
        torch.testing.assert_close(products.gather(1, places), values)
        assert all(len(set(row)) == 5 for row in places.tolist())


def test_a_gallery_and_the_own_place_in_it():
    rng = np.random.default_rng(1)
    x = unit(rng, 50, 8)
    whole = nearest(x, 5).indices
    np.testing.assert_array_equal(nearest(x[:10], 5, gallery=x, own=np.arange(10)).indices, whole[:10])
    with_itself = nearest(x[:10], 5, gallery=x).indices
    np.testing.assert_array_equal(with_itself[:, 0], np.arange(10))
    np.testing.assert_array_equal(with_itself[:, 1:], whole[:10, :4])


def test_near_ties_are_ordered_by_more_than_float32_products():
    """A large mean leaves float32 products no digits to order neighbours with."""
    x = (1 + 1e-4 * np.random.default_rng(2).normal(size=(200, 999))).astype(np.float32)
    naive = x @ x.T
    np.fill_diagonal(naive, -np.inf)
    wanted = reference.knn(x, 10)
    assert (np.argsort(-naive, axis=1, kind="stable")[:, :10] != wanted).any()
    np.testing.assert_array_equal(nearest(x, 10, key=KEY).indices, wanted)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("memory_gb", [1e-3, 2])
def test_neighbours_and_ties_are_the_same_on_a_gpu(memory_gb):
    rng = np.random.default_rng(4)
    for x in (unit(rng, 3000, 64), unit(rng, 500, 64)[rng.integers(0, 500, 3000)], rng.integers(-2, 3, (3000, 8))):
        one, other = (
            nearest(x.astype(np.float32), 10, device=device, memory_gb=memory_gb) for device in ("cpu", "cuda")
        )
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.ties, other.ties)


def test_any_layout_of_memory_is_taken():
    x = unit(np.random.default_rng(2), 30, 4)
    for other in (x[::-1][::-1], x.astype(">f4"), x.astype(np.longdouble), np.asfortranarray(x), x.tolist()):
        np.testing.assert_array_equal(nearest(other, 5).indices, nearest(x, 5).indices)
    np.testing.assert_array_equal(nearest(x[::-1], 5).indices, 29 - nearest(x, 5).indices[::-1])


@pytest.mark.parametrize("kind", [str, complex, object, np.int32])
def test_what_is_no_number_is_refused(kind):
    with pytest.raises(ValueError, match=r"x holds .*; features must be floating"):
        nearest(np.ones((5, 2)).astype(kind), 2)


def test_the_bound_on_rounding_holds():
    rng = np.random.default_rng(2)
    for d in (8, 64, 256, 448, 1024, 8192):
        x = unit(rng, 64, d) + np.float32(0.5)
        norms = np.linalg.norm(x.astype(np.float64), axis=1)
        error = np.abs((x @ x.T) - x.astype(np.float64) @ x.T.astype(np.float64)) / np.outer(norms, norms)
        assert error.max() < 0.7 * neighbours.rounding(d)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_restricting_deep_lists_is_searching_again(seed):
    rng = np.random.default_rng(seed)
    x = unit(rng, 30, 3)
    keep = np.sort(rng.permutation(30)[:15])
    deep = nearest(x, 29).indices
    np.testing.assert_array_equal(restrict(deep, keep, 6), nearest(x[keep], 6).indices)
    assert restrict(deep, keep, 6).dtype == np.int32


def test_lists_that_are_not_deep_enough_are_refused():
    x = unit(np.random.default_rng(3), 30, 3)
    with pytest.raises(ValueError, match="have fewer than k = 6 kept samples among their 8 nearest"):
        restrict(nearest(x, 8).indices, np.arange(10), 6)


@pytest.mark.parametrize("keep", [[0, 0, 1], [[0, 1]], [0.0, 1.0]])
def test_bad_subsets_are_refused(keep):
    with pytest.raises(ValueError, match="keep must be distinct"):
        restrict(np.array([[1, 2], [0, 2], [0, 1]]), np.array(keep), 1)


GOOD = unit(np.random.default_rng(4), 10, 4)


@pytest.mark.parametrize(
    ("x", "k", "options", "message"),
    [
        (GOOD, 10, {}, "k is 10, but a query has 9 possible"),
        (GOOD, 0, {}, "k is 0"),
        (GOOD, 1.0, {}, "k is 1.0"),
        (GOOD[0], 1, {}, "x has shape"),
        (GOOD[:0], 1, {}, "x has shape"),
        (GOOD[:1], 1, {}, "k is 1, but a query has 0"),
        (GOOD * np.nan, 1, {}, "x holds NaN"),
        (GOOD.astype(np.float64) * 1e300, 1, {}, "x holds NaN or infinite values"),
        ((GOOD * 9).astype(int), 1, {}, "x holds int64"),
        (GOOD, 1, {"gallery": GOOD[:, :2]}, "x has 4 columns and gallery 2"),
        (GOOD, 11, {"gallery": GOOD}, "k is 11"),
    ],
)
def test_bad_input_is_refused(x, k, options, message):
    with pytest.raises(ValueError, match=message):
        nearest(x, k, **options)


def test_the_precision_of_products_is_put_back():
    import torch

    torch.set_float32_matmul_precision("high")
    try:
        nearest(GOOD, 2)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
