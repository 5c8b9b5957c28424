"""Neighbour lists as sparse n x n planes, whose Frobenius products score all layer pairs at once.

The plane of a layer has an entry at (i, j) if j is among the neighbours of i. Flattened, all layers of a model form one
sparse matrix, and one sparse product with that of another model yields the products of all layer pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from prh.core.metrics.representation import Representation
from prh.core.neighbour_lists import tiled

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TILE = 2**24  # entries of the n x n plane processed at once: all of them up to n = 4096


class Columns(NamedTuple):
    """Flattened planes of all layers of x for some rows, laid out for multiplication with the planes of any y."""

    rows: slice
    places: np.ndarray | None  # int64, sorted indices of the plane that occur; None: all of them have a row in matrix
    matrix: csr_array  # [places + 1, L_x]; the last row is empty, for indices that do not occur


def neighbour_columns(x: Representation, k: int) -> list[Columns]:
    """Planes with ones at the neighbours, for all layers; cached while y is permuted or replaced."""
    return columns(x.knn(k), x.gallery)


def columns(knn: np.ndarray, gallery: int, values: np.ndarray | None = None) -> list[Columns]:
    """Lay out lists int [L, n, k] as n x gallery planes with ``values`` [L, n, k] (default: ones) at the listed pairs.

    A plane of up to 2^24 entries is indexed directly; of a larger one only the indices that occur are stored.
    """
    from scipy.sparse import csr_array

    layers, n, k = knn.shape
    direct = n * gallery <= TILE
    values = np.broadcast_to(np.int32(1), knn.shape) if values is None else values
    step = n if direct else max(1, TILE // (64 * k))
    parts = []
    for rows in tiled(n, step):
        places, known = places_in_plane(knn[:, rows], gallery).ravel(), None
        count = n * gallery
        if not direct:
            known, places = np.unique(places, return_inverse=True)
            count = len(known)
        starts = np.arange(layers + 1, dtype=places.dtype) * (len(places) // layers)
        planes = csr_array((values[:, rows].ravel(), places, starts), (layers, count + 1))
        parts.append(Columns(rows, known, planes.T.tocsr()))
    return parts


def products(x_columns: list[Columns], knn: np.ndarray, gallery: int, values: np.ndarray | None = None) -> np.ndarray:
    """Frobenius products of all planes of x with all planes of y, which are given as lists (and values): [L_x, L_y]."""
    from scipy.sparse import csr_array

    layers = len(knn)
    values = np.broadcast_to(np.int32(1), knn.shape) if values is None else values
    total = 0
    for rows, known, matrix in x_columns:
        places = places_in_plane(knn[:, rows], gallery).ravel()
        if known is not None:
            row = np.searchsorted(known, places).clip(max=len(known) - 1)
            places = np.where(known[row] == places, row, len(known))
        starts = np.arange(layers + 1, dtype=matrix.indices.dtype) * (len(places) // layers)
        places = places.astype(matrix.indices.dtype, copy=False)  # indices of one width: scipy widens all otherwise
        total += csr_array((values[:, rows].ravel(), places, starts), (layers, matrix.shape[0])) @ matrix
    return total.toarray().T


def places_in_plane(knn: np.ndarray, gallery: int) -> np.ndarray:
    """Index of each pair (i, j) in the flattened plane of these rows: [L, rows, k], int32 if that is wide enough."""
    rows = knn.shape[1]
    dtype = np.int32 if rows * gallery < 2**31 else np.int64
    return knn + (np.arange(rows, dtype=dtype) * gallery)[:, None]
