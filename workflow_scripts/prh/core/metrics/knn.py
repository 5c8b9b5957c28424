"""Metrics on lists of nearest neighbours: do two models agree on which samples are close?

All of them read int32 tables [L, n, k] (``Representation.knn``) and never the features. Two techniques score all layer
pairs at once. ``mutual_knn`` only counts, so each layer becomes a sparse row of n * n zeros and ones, and one sparse
product yields all counts. The others need to know *which* neighbours are shared: for each layer of x, a table of ranks
is filled in and looked up at the neighbours of all layers of y (``_shared_ranks``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from prh.core.metrics.base import Representation, metric
from prh.core.metrics.neighbour_planes import TILE, neighbour_columns, places_in_plane, products
from prh.core.neighbour_lists import tiled


@metric(
    summary="mean share of common nearest neighbours",
    needs="neighbours",
    symmetric=True,
    bounded=True,
    per_query=True,
    chance=lambda k, n: k / (n - 1),
)
def mutual_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """Mutual k nearest neighbours, the metric of the paper: mean over samples of the share of common neighbours.

    |N_x(i) ∩ N_y(i)| / k, where N_x(i) are the k samples other than i with the largest inner product with i in x.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples. Neighbours are those of the largest inner product: normalise rows first
        (``prh.prepare``) to compare by cosine.
    k : int
        Number of neighbours, from 1 to n - 1.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1]; k / (n - 1) on average for unrelated representations.

    Raises
    ------
    ValueError
        For k outside 1 to n - 1.

    References
    ----------
    Huh, Cheung, Wang and Isola (2024), "The Platonic Representation Hypothesis", eq. 3 and appendix A.

    Examples
    --------
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
    """Jaccard similarity of neighbour sets: mean over samples of |N_x(i) ∩ N_y(i)| / |N_x(i) ∪ N_y(i)|.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples. Neighbours are those of the largest inner product: normalise rows first
        (``prh.prepare``) to compare by cosine.
    k : int
        Number of neighbours, from 1 to n - 1.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1].

    Raises
    ------
    ValueError
        For k outside 1 to n - 1.

    References
    ----------
    Wang et al. (2020), "Towards Understanding the Instability of Network Embedding"; Klabunde et al. (2023),
    "Similarity of Neural Network Models", section 3.4.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [0.1, 1.0]])
    >>> jaccard_knn(x, x, k=1)
    1.0
    """
    return _mean_over_samples(x, y, k, jaccard_similarity)


@metric(summary="share of samples found again, y then x", needs="neighbours", symmetric=False, bounded=True)
def cycle_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """Cycle consistency: the share of samples i with some j in N_y(i) such that i is in N_x(j). Not symmetric.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples. Neighbours are those of the largest inner product: normalise rows first
        (``prh.prepare``) to compare by cosine.
    k : int
        Number of neighbours, from 1 to n - 1.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1].

    Raises
    ------
    ValueError
        For k outside 1 to n - 1, or neighbours of only a part of the gallery.

    References
    ----------
    Huh, Cheung, Wang and Isola (2024), "The Platonic Representation Hypothesis", appendix A; equal to the official
    code.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [0.1, 1.0]])
    >>> cycle_knn(x, x, k=1)
    1.0
    """
    from scipy.sparse import csr_array

    if x.gallery != x.n:
        raise ValueError("cycle_knn follows neighbours of neighbours, so it needs the neighbours of the whole gallery.")
    knn_x, knn_y = x.knn(k), y.knn(k)
    starts = np.arange(0, x.n * k + 1, k)
    scores = np.zeros((len(x), len(y)))
    for layer, lists in enumerate(knn_x):
        listed_by = csr_array((np.ones(lists.size, bool), lists.ravel(), starts), (x.n, x.n)).T.tocsr()
        for rows in tiled(x.n, max(1, TILE // x.n)):
            is_listed = listed_by[rows].toarray()  # is_listed[i, j]: i is in N_x(j)
            back = is_listed.ravel()[places_in_plane(knn_y[:, rows], x.n)].any(axis=-1)
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
    """Mean over samples of the length of the longest common subsequence of the two ordered neighbour lists, over k.

    The division by k follows the paper; the official code leaves it out.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples. Neighbours are those of the largest inner product: normalise rows first
        (``prh.prepare``) to compare by cosine.
    k : int
        Number of neighbours, from 1 to n - 1.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1].

    Raises
    ------
    ValueError
        For k outside 1 to n - 1.

    References
    ----------
    Huh, Cheung, Wang and Isola (2024), "The Platonic Representation Hypothesis", appendix A.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [0.1, 1.0]])
    >>> lcs_knn(x, x, k=1)
    1.0
    """
    return _mean_over_samples(x, y, k, lcs_similarity)


@metric(
    summary="1 - edit distance of neighbour lists / k", needs="neighbours", symmetric=True, bounded=True, per_query=True
)
def edit_distance_knn(x: Representation, y: Representation, k: int = 10) -> np.ndarray:
    """One minus the mean Levenshtein distance (unit costs) of the two ordered neighbour lists over k.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples. Neighbours are those of the largest inner product: normalise rows first
        (``prh.prepare``) to compare by cosine.
    k : int
        Number of neighbours, from 1 to n - 1.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1].

    Raises
    ------
    ValueError
        For k outside 1 to n - 1.

    References
    ----------
    Huh, Cheung, Wang and Isola (2024), "The Platonic Representation Hypothesis", appendix A; Levenshtein (1966),
    "Binary codes capable of correcting deletions, insertions and reversals".

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [0.1, 1.0]])
    >>> edit_distance_knn(x, x, k=1)
    1.0
    """
    return _mean_over_samples(x, y, k, edit_similarity)


def jaccard_similarity(ranks: np.ndarray) -> np.ndarray:
    """Intersection over union of two lists: float [cases], from ``ranks`` int16 [k, cases] as in ``_shared_ranks``."""
    k = len(ranks)
    common = (ranks < k).sum(axis=0)
    return common / (2 * k - common)


def lcs_similarity(ranks: np.ndarray) -> np.ndarray:
    """Length of the longest common subsequence over k: float [cases], from ``ranks`` int16 [k, cases].

    No sample occurs twice in a list, so a common subsequence is an increasing subsequence of ranks. The longest is
    found by patience sorting: ``ends[m]`` is the smallest rank at which one of length m + 1 can end.
    """
    k = len(ranks)
    ends = np.full_like(ranks, k)
    for rank in ranks:  # a rank of k (not shared) is never below an end, so it changes nothing
        shorter_end = np.concatenate([np.full_like(ends[:1], -1), ends[:-1]])
        ends = np.where((shorter_end < rank) & (rank < ends), rank, ends)
    return (ends < k).sum(axis=0) / k


def edit_similarity(ranks: np.ndarray) -> np.ndarray:
    """One minus the Levenshtein distance over k: float [cases], from ``ranks`` int16 [k, cases]."""
    k = len(ranks)
    steps = np.arange(k + 1, dtype=np.int16)[:, None]
    # distance[a]: between the first a neighbours in x and the first b in y, where b is the number of loop iterations.
    distance = np.repeat(steps, ranks.shape[1], axis=1)
    for rank in ranks:
        replaced = distance[:-1] + (rank != steps[:-1])
        distance += 1
        np.minimum(distance[1:], replaced, out=distance[1:])
        # deleting a neighbour of x costs 1: distance[a] = min over a' <= a of distance[a'] + (a - a')
        distance = np.minimum.accumulate(distance - steps, axis=0) + steps
    return 1 - distance[-1] / k


def _shared_ranks(x: Representation, y: Representation, k: int) -> Iterator[tuple[int, np.ndarray]]:
    """For each layer l of x and tile of samples: (l, ranks int16 [k, L_y, rows]).

    ``ranks[b, m, i]`` is the rank of the b-th neighbour of i in layer m of y within the list of i in layer l of x, or k
    if it is not in that list.
    """
    knn_x, knn_y = x.knn(k), y.knn(k)
    ranks = np.arange(k, dtype=np.int16)
    for rows in tiled(x.n, max(1, TILE // x.gallery)):
        places_y = np.ascontiguousarray(places_in_plane(knn_y[:, rows], x.gallery).transpose(2, 0, 1))
        table = np.full((rows.stop - rows.start) * x.gallery, k, np.int16)
        for layer, places_x in enumerate(places_in_plane(knn_x[:, rows], x.gallery)):
            table[places_x] = ranks
            yield layer, table[places_y]
            table[places_x] = k


def _mean_over_samples(
    x: Representation, y: Representation, k: int, similarity: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Mean over samples of the ``similarity`` of two lists, for all layer pairs: float64 [L_x, L_y].

    ``similarity`` maps ranks int16 [k, cases] to [cases]. It is only called for lists that share a neighbour; for
    others it is 0.
    """
    scores = np.zeros((len(x), len(y)))
    for layer, ranks in _shared_ranks(x, y, k):
        sharing = (ranks < k).any(axis=0)
        values = np.zeros(sharing.shape)
        values[sharing] = similarity(ranks[:, sharing])
        scores[layer] += values.sum(axis=1)
    return scores / x.n
