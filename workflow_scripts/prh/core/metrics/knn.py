"""Metrics on lists of nearest neighbours: do two models agree about which samples are close?

All of them read int32 tables [L, n, k] (``Representation.knn``) and never the features. Two ways lead to all layer
pairs at once. ``mutual_knn`` only counts, so each layer becomes one sparse row of n * n zeros and ones and one sparse
product gives every count. The others need to know *which* neighbours are shared: for one layer of x, a table of ranks
is laid out and read at the neighbours of all layers of y (``_shared_ranks``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from prh.core.metrics.base import Representation, metric
from prh.core.neighbour_lists import tiled

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TILE = 2**24  # places of the n x n plane that are laid out at once: all of them up to n = 4096


@metric(
    summary="mean share of common nearest neighbours",
    needs="neighbours",
    symmetric=True,
    bounded=True,
    per_query=True,
    chance=lambda k, n: k / (n - 1),
)
def mutual_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """Mutual k nearest neighbours: the mean over samples of the share of common neighbours, the metric of the paper.

    |N_x(i) ∩ N_y(i)| / k, where N_x(i) are the k samples other than i with the largest inner product with i in x.

    Parameters: two arrays [n, d] (rows paired), ``k`` < n. Returns a float in [0, 1]; k / (n - 1) on average for
    unrelated representations. Normalise rows first (``prh.prepare``) to compare by cosine. Source: Huh, Cheung, Wang
    and Isola (2024), "The Platonic Representation Hypothesis", eq. 3 and appendix A.

    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [0.1, 1.0]])
    >>> mutual_knn(x, x, k=1)
    1.0
    """
    return products(x.state(neighbour_columns, k), y.knn(k), y.gallery) / (x.n * k)


@metric(
    summary="intersection over union of nearest neighbours",
    needs="neighbours",
    symmetric=True,
    bounded=True,
    per_query=True,
)
def jaccard_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """Jaccard similarity of neighbour sets: the mean over samples of |N_x ∩ N_y| / |N_x ∪ N_y|.

    Parameters: as ``mutual_knn``. Returns a float in [0, 1].
    Source: Wang et al. (2020), "Towards Understanding the Instability of Network Embedding"; Klabunde et al. (2023),
    "Similarity of Neural Network Models", section 3.4.
    """
    return _mean_over_samples(x, y, k, jaccard_similarity)


@metric(summary="share of samples found again, y then x", needs="neighbours", symmetric=False, bounded=True)
def cycle_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """Cycle consistency: the share of samples i with some j in N_y(i) such that i is in N_x(j). Not symmetric.

    Parameters: as ``mutual_knn``. Returns a float in [0, 1].
    Source: Huh et al. (2024), appendix A; equal to the official code.
    """
    from scipy.sparse import csr_array

    if x.gallery != x.n:
        raise ValueError("cycle_knn follows neighbours of neighbours; it needs the neighbours of the whole gallery.")
    knn_x, knn_y = x.knn(k), y.knn(k)
    starts = np.arange(0, x.n * k + 1, k)
    scores = np.zeros((len(x), len(y)))
    for layer, lists in enumerate(knn_x):
        admirers = csr_array((np.ones(lists.size, bool), lists.ravel(), starts), (x.n, x.n)).T.tocsr()
        for rows in tiled(x.n, max(1, TILE // x.n)):
            knows = admirers[rows].toarray()  # knows[i, j]: i is in N_x(j)
            back = knows.ravel()[_places(knn_y[:, rows], x.n)].any(axis=-1)
            scores[layer] += back.sum(axis=1)
    return scores / x.n


@metric(
    summary="longest common subsequence of neighbours / k",
    needs="neighbours",
    symmetric=True,
    bounded=True,
    per_query=True,
)
def lcs_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """Length of the longest common subsequence of the two ordered neighbour lists, averaged over samples, over k.

    Parameters: as ``mutual_knn``. Returns a float in [0, 1]; the official code does not divide by k, the paper does.
    Source: Huh et al. (2024), appendix A.
    """
    return _mean_over_samples(x, y, k, lcs_similarity)


@metric(
    summary="1 - edit distance of neighbour lists / k", needs="neighbours", symmetric=True, bounded=True, per_query=True
)
def edit_distance_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """One minus the mean Levenshtein distance (unit costs) of the two ordered neighbour lists over k.

    Parameters: as ``mutual_knn``. Returns a float in [0, 1].
    Source: Huh et al. (2024), appendix A; Levenshtein (1966).
    """
    return _mean_over_samples(x, y, k, edit_similarity)


def jaccard_similarity(ranks: np.ndarray) -> np.ndarray:
    """Shared neighbours over all of two lists: from ``ranks`` int16 [k, cases] (``_shared_ranks``) to float [cases]."""
    k = len(ranks)
    common = (ranks < k).sum(axis=0)
    return common / (2 * k - common)


def lcs_similarity(ranks: np.ndarray) -> np.ndarray:
    """Length of the longest common subsequence over k: from ``ranks`` int16 [k, cases] to float [cases].

    No sample occurs twice in a list, so a common subsequence is an increasing run of ranks, and the longest is found by
    patience sorting: ``ends[m]`` is the least rank at which a run of length m + 1 can end.
    """
    k = len(ranks)
    ends = np.full_like(ranks, k)
    for rank in ranks:  # a rank of k (not shared) is less than no end: it changes nothing
        shorter_end = np.concatenate([np.full_like(ends[:1], -1), ends[:-1]])
        ends = np.where((shorter_end < rank) & (rank < ends), rank, ends)
    return (ends < k).sum(axis=0) / k


def edit_similarity(ranks: np.ndarray) -> np.ndarray:
    """One minus the Levenshtein distance over k: from ``ranks`` int16 [k, cases] to float [cases]."""
    k = len(ranks)
    steps = np.arange(k + 1, dtype=np.int16)[:, None]
    # distance[a] is between the first a neighbours in x and the first b in y; each turn adds one to b.
    distance = np.repeat(steps, ranks.shape[1], axis=1)
    for rank in ranks:
        replaced = distance[:-1] + (rank != steps[:-1])
        distance += 1
        np.minimum(distance[1:], replaced, out=distance[1:])
        # dropping neighbours of x costs 1 each: distance[a] = min over a' <= a of distance[a'] + (a - a')
        distance = np.minimum.accumulate(distance - steps, axis=0) + steps
    return 1 - distance[-1] / k


class Columns(NamedTuple):
    """The planes of all layers of x for some rows, stored by place, ready to be multiplied with the planes of any y."""

    rows: slice
    places: np.ndarray | None  # int64, the sorted places that occur; None: every place has its column
    matrix: csr_array  # [places + 1, L_x]; the last row is empty, for places that do not occur


def neighbour_columns(x: Representation, k: int) -> list[Columns]:
    """Ones at the neighbours of all layers: what stands still while y is permuted or replaced."""
    return columns(x.knn(k), x.gallery)


def columns(knn: np.ndarray, gallery: int, values: np.ndarray | None = None) -> list[Columns]:
    """Lay out int [L, n, k] lists as n x gallery planes with ``values`` [L, n, k] (default: ones) at the listed pairs.

    A plane of up to 2^24 places is addressed directly; of a larger one only the places that occur are kept.
    """
    from scipy.sparse import csr_array

    layers, n, k = knn.shape
    direct = n * gallery <= TILE
    values = np.broadcast_to(np.int32(1), knn.shape) if values is None else values
    step = n if direct else max(1, TILE // (64 * k))
    parts = []
    for rows in tiled(n, step):
        places, known = _places(knn[:, rows], gallery).ravel(), None
        count = n * gallery
        if not direct:
            known, places = np.unique(places, return_inverse=True)
            count = len(known)
        layer = np.repeat(np.arange(layers, dtype=np.int32), len(places) // layers)
        matrix = csr_array((values[:, rows].ravel(), (places, layer)), (count + 1, layers))
        parts.append(Columns(rows, known, matrix))
    return parts


def products(x_columns: list[Columns], knn: np.ndarray, gallery: int, values: np.ndarray | None = None) -> np.ndarray:
    """Frobenius products of every plane of x with every plane of y, given as lists ``knn`` (and values): [L_x, L_y]."""
    from scipy.sparse import csr_array

    layers = len(knn)
    values = np.broadcast_to(np.int32(1), knn.shape) if values is None else values
    total = 0
    for rows, known, matrix in x_columns:
        places = _places(knn[:, rows], gallery).ravel()
        if known is not None:
            found = np.searchsorted(known, places).clip(max=len(known) - 1)
            places = np.where(known[found] == places, found, len(known))
        starts = np.arange(layers + 1) * (len(places) // layers)
        total += csr_array((values[:, rows].ravel(), places, starts), (layers, matrix.shape[0])) @ matrix
    return total.toarray().T


def _places(knn: np.ndarray, gallery: int) -> np.ndarray:
    """Place of each pair (i, j) in the flattened plane of these rows: [L, rows, k], int32 where that is wide enough."""
    rows = knn.shape[1]
    dtype = np.int32 if rows * gallery < 2**31 else np.int64
    return knn + (np.arange(rows, dtype=dtype) * gallery)[:, None]


def _shared_ranks(x: Representation, y: Representation, k: int) -> Iterator[tuple[int, np.ndarray]]:
    """For each layer l of x and tile of samples: (l, ranks int16 [k, L_y, rows]).

    ``ranks[b, m, i]`` is the place that the b-th neighbour of i in layer m of y has in the list of i in layer l of x,
    or k if it is not there.
    """
    knn_x, knn_y = x.knn(k), y.knn(k)
    ranks = np.arange(k, dtype=np.int16)
    for rows in tiled(x.n, max(1, TILE // x.gallery)):
        places_y = np.ascontiguousarray(_places(knn_y[:, rows], x.gallery).transpose(2, 0, 1))
        table = np.full((rows.stop - rows.start) * x.gallery, k, np.int16)
        for layer, places_x in enumerate(_places(knn_x[:, rows], x.gallery)):
            table[places_x] = ranks
            yield layer, table[places_y]
            table[places_x] = k


def _mean_over_samples(
    x: Representation, y: Representation, k: int, similarity: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Mean over samples of the ``similarity`` of two lists, for all layer pairs: float64 [L_x, L_y].

    ``similarity`` maps ranks int16 [k, cases] to [cases]; it is asked only where something is shared, and 0 elsewhere.
    """
    scores = np.zeros((len(x), len(y)))
    for layer, ranks in _shared_ranks(x, y, k):
        sharing = (ranks < k).any(axis=0)
        values = np.zeros(sharing.shape)
        values[sharing] = similarity(ranks[:, sharing])
        scores[layer] += values.sum(axis=1)
    return scores / x.n
