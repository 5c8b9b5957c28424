"""Exact nearest neighbours by inner product, computed in tiles on CPU or GPU.

Products are float32, never TF32 or bfloat16, whose rounding creates ties and swaps neighbours. If two candidates are
closer than the float32 rounding error, their products are recomputed in float64, so that the order does not depend on
the device, the tile or the library. Similarity is thus the float64 product rounded to float32; candidates of equal
similarity are in a random order specific to the row (``prh.core.ties``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from prh.core import ties
from prh.core.float32 import as_matrix, full_float32
from prh.core.neighbour_lists import restrict, tiled

__all__ = ["Neighbours", "nearest", "restrict"]

MARGIN = 4  # candidates kept beyond the k-th, so that near-ties there can be resolved without a new search


class Neighbours(NamedTuple):
    """The result of ``nearest``.

    Attributes
    ----------
    indices : int32 [n, k]
        Gallery indices of the neighbours, nearest first.
    ties : float64 [k]
        Entry j - 1 is the share of rows whose j-th and (j+1)-th neighbours are equally near, so that chance decides
        which of them is among the j nearest.
    """

    indices: np.ndarray
    ties: np.ndarray


def nearest(
    x: np.ndarray | torch.Tensor,
    k: int,
    *,
    gallery: np.ndarray | torch.Tensor | None = None,
    own: np.ndarray | None = None,
    key: int | None = None,
    numbers: np.ndarray | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    device: str = "cpu",
    memory_gb: float = 2.0,
) -> Neighbours:
    """The k samples of a gallery with the largest inner product with each row of ``x``, exactly.

    Parameters
    ----------
    x : floating [n, d]
        Queries, taken as float32. Normalise rows first to search by cosine.
    k : int
        From 1 to the number of possible neighbours of a query.
    gallery : floating [m, d], optional
        Samples to search. By default ``x`` itself, where a row is not its own neighbour.
    own : int [n], optional
        Index of each query in ``gallery``, which is excluded from its neighbours; by default nothing is excluded.
    key : int, optional
        Key of the random order of equally near samples (``prh.core.ties.key_of``); by default derived from the content
        of the gallery. Models that are compared must have different keys.
    numbers : int [m], optional
        Sample numbers of the gallery for that random order, if it is part of a larger set; by default 0 ... m - 1.
    precision : {"float32", "bfloat16"}
        What products are rounded to. "bfloat16" reproduces code that computes in it; most rows then have ties.
    device : str
        torch device to compute on.
    memory_gb : float
        Upper bound on the memory of products and candidates; an n x m matrix above it is never formed.

    Returns
    -------
    Neighbours
        The indices of the neighbours and the share of ties at each rank.

    Raises
    ------
    ValueError
        For arrays that are not floating [n, d], hold NaN or inf, differ in width or have too few rows for k.
    """
    x, within = as_matrix(x, "x", device), gallery is None  # within: the queries are the gallery
    gallery, own = (x, np.arange(len(x))) if within else (as_matrix(gallery, "gallery", device), own)
    if gallery.shape[1] != x.shape[1]:
        raise ValueError(f"x has {x.shape[1]} columns and gallery {gallery.shape[1]}; they must be the same features.")
    possible = len(gallery) - (own is not None)
    if not isinstance(k, (int, np.integer)) or not 1 <= k <= possible:
        raise ValueError(
            f"k is {k!r}, but a query has {possible} possible neighbours: k must be an integer from 1 to {possible}."
        )
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision is {precision!r}; it must be 'float32' or 'bfloat16'.")
    error = rounding(x.shape[1]) * float(gallery.norm(dim=1).max())
    numbers = torch.arange(len(gallery), device=x.device) if numbers is None else _as_indices(numbers, x.device)
    tie_order = _TieOrder(key, numbers)
    depth = min(int(k) + MARGIN, possible)
    search = _Search(gallery, int(k), depth, possible, error, precision == "bfloat16", tie_order)
    selves = None if own is None else _as_indices(own, x.device)
    indices, tied = np.empty((len(x), k), np.int32), np.zeros(k)
    with full_float32():
        for rows, values, neighbours in search.candidates(x, selves, memory_gb, within):
            own_rows = None if selves is None else selves[rows]
            samples = torch.arange(rows.start, rows.stop, device=x.device) if selves is None else numbers[own_rows]
            settled, equal = search.settle(x[rows], values, neighbours, own_rows, samples)
            indices[rows] = settled.cpu().numpy()
            tied += equal
    return Neighbours(indices, tied / len(x))


def _as_indices(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(np.asarray(numbers, np.int64), device=device)


def rounding(d: int) -> float:
    """Bound on the error of a float32 inner product of ``d`` terms, relative to the norms of its factors.

    Inside one block of a BLAS kernel, about 100 terms, all rounding errors (2**-24 each) can have the same sign; the
    errors of blocks add up like a random walk. The largest error measured, over d = 8 ... 8192, several processors and
    all-positive terms (the worst case), was 23 roundings.
    """
    return 2.0**-24 * max(48.0, d**0.5)


class _Best:
    """The largest products seen so far for each query of a tile, and the gallery indices they belong to."""

    def __init__(self, rows: int, depth: int, device: torch.device) -> None:
        self.values = torch.full((rows, depth), -torch.inf, device=device)
        self.neighbours = torch.zeros((rows, depth), dtype=torch.int64, device=device)

    def see(self, rows: slice, products: torch.Tensor, offset: int) -> None:
        """Merge in the products of ``rows`` with the part of the gallery that starts at ``offset``."""
        depth = self.values.shape[1]
        values, columns = _largest(products, min(depth, products.shape[1]))
        values = torch.cat([self.values[rows], values], 1)
        neighbours = torch.cat([self.neighbours[rows], columns + offset], 1)
        self.values[rows], best = values.topk(depth, dim=1)
        self.neighbours[rows] = neighbours.gather(1, best)


@dataclass
class _TieOrder:
    """The random order of equally near gallery samples; without a key, one is derived from the content on first use."""

    key: int | None
    numbers: torch.Tensor  # int64 [m]

    def priorities(
        self, gallery: torch.Tensor, samples: torch.Tensor, candidates: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``ties.priorities`` of ``candidates`` [rows, c] for ``samples``; by default of the whole gallery."""
        if self.key is None:
            self.key = ties.key_of_content(gallery)
        return ties.priorities(self.key, samples, self.numbers if candidates is None else self.numbers[candidates])


class _Search(NamedTuple):
    """A search for the k nearest samples in one gallery."""

    gallery: torch.Tensor
    k: int
    depth: int  # candidates kept per query: k plus a margin
    possible: int  # candidates that a query has in all
    rounding: float  # bound on the error of a float32 product with a query of norm 1
    coarse: bool  # similarities are rounded to bfloat16
    tie_order: _TieOrder

    def candidates(
        self, queries: torch.Tensor, own: torch.Tensor | None, memory_gb: float, within: bool
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Yield (rows, their largest float32 products in order, the gallery indices of these) for one tile of queries.

        ``within``: the queries are the gallery, so that each product is used for both of its samples.
        """
        entries = int(memory_gb * 2**30 / 16)  # 16 bytes: a float32 product and the working memory of top-k
        m = len(self.gallery)
        width = min(m, max(4 * self.depth, math.isqrt(entries)))  # square tiles move the least memory per product
        if within and 2 * m * self.depth <= entries:
            best = _Best(m, self.depth, queries.device)
            # Only products off the diagonal tiles are used twice, which favours small tiles; selecting from a row is
            # cheaper per product the longer the row is, which favours large ones.
            tiles = tiled(m, min(width, max(4096, 256 * self.depth)))
            self._multiply_within(best, tiles)
            for rows in tiles:
                yield rows, best.values[rows], best.neighbours[rows]
            return
        height = min(len(queries), max(1, entries // width))
        memory = torch.empty(height * width, device=queries.device)
        for rows in tiled(len(queries), height):
            best = _Best(rows.stop - rows.start, self.depth, queries.device)
            for tile in tiled(m, width):
                products = _multiply(queries[rows], self.gallery[tile], memory)
                _exclude(products, None if own is None else own[rows], tile)
                best.see(slice(None), products, tile.start)
            yield rows, best.values, best.neighbours

    def _multiply_within(self, best: _Best, tiles: list[slice]) -> None:
        memory = torch.empty(tiles[0].stop ** 2, device=self.gallery.device)
        for i, rows in enumerate(tiles):
            for tile in tiles[i:]:
                products = _multiply(self.gallery[rows], self.gallery[tile], memory)
                if tile == rows:
                    products.fill_diagonal_(-torch.inf)
                else:
                    best.see(tile, products.T, rows.start)
                best.see(rows, products, tile.start)

    def settle(
        self,
        queries: torch.Tensor,
        values: torch.Tensor,
        neighbours: torch.Tensor,
        own: torch.Tensor | None,
        samples: torch.Tensor,
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Put candidates into their final order: (indices [rows, k], number of rows with a tie at each rank [k]).

        ``values`` and ``neighbours`` are the candidates, ordered by float32 product. ``own``: gallery indices of the
        queries. ``samples``: sample numbers of the queries for the random order of ties.
        """
        slack = 2 * self.rounding * queries.norm(dim=1, keepdim=True)
        close = values[:, :-1] - values[:, 1:] <= slack
        unsure = close[:, : self.k].any(dim=1)
        # If even the last candidate is within rounding of the k-th, others beyond it may be too: search the gallery.
        overflow = unsure & (values[:, self.k - 1] - values[:, -1] <= slack[:, 0]) & (self.depth < self.possible)
        if self.coarse:
            overflow = torch.ones_like(overflow)
        tied = np.zeros(self.k)
        rows = (unsure & ~overflow).nonzero().flatten()
        if len(rows):
            exact, neighbours[rows] = self.rank_candidates(
                queries[rows], values[rows], neighbours[rows], close[rows], samples[rows]
            )
            tied += self.count_ties(exact)
        many = overflow.nonzero().flatten()
        for rows in many.split(max(1, 2**24 // len(self.gallery))) if len(many) else ():
            own_rows = None if own is None else own[rows]
            exact, neighbours[rows] = self.rank_gallery(queries[rows], own_rows, samples[rows])
            tied += self.count_ties(exact)
        return neighbours[:, : self.k], tied

    def rank_candidates(
        self,
        queries: torch.Tensor,
        values: torch.Tensor,
        neighbours: torch.Tensor,
        close: torch.Tensor,
        samples: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sort candidates by product, then by tie order, recomputing the products that are ``close`` to the next.

        Those are recomputed in float64 and rounded to float32. The others differ by more than the rounding error, so
        their order is already certain.
        """
        near = torch.nn.functional.pad(close, (1, 0)) | torch.nn.functional.pad(close, (0, 1))
        for part in near.nonzero().split(max(1, 2**24 // self.gallery.shape[1])):
            row, rank = part.T
            factors = queries[row].double(), self.gallery[neighbours[row, rank]].double()
            values[row, rank] = (factors[0] * factors[1]).sum(dim=1).float()
        priorities = self.tie_order.priorities(self.gallery, samples, neighbours)
        order = ties.sortable(values, priorities).argsort(dim=1, descending=True)
        return values.gather(1, order), neighbours.gather(1, order)

    def rank_gallery(
        self, queries: torch.Tensor, own: torch.Tensor | None, samples: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same over the whole gallery, for rows with more near-ties than candidates, such as duplicates."""
        exact = torch.cat([(queries.double() @ part.double().T).float() for part in self.gallery.split(2**14)], 1)
        if self.coarse:
            exact = exact.bfloat16().float()
        _exclude(exact, own, slice(0, len(self.gallery)))
        order = ties.sortable(exact, self.tie_order.priorities(self.gallery, samples)).topk(self.depth, dim=1).indices
        return exact.gather(1, order), order

    def count_ties(self, exact: torch.Tensor) -> np.ndarray:
        """How many rows have equal products at ranks j and j + 1: int [k], 0 beyond the last candidate."""
        equal = (exact[:, :-1] == exact[:, 1:])[:, : self.k].sum(dim=0).cpu().numpy()
        return np.pad(equal, (0, self.k - len(equal)))


def _multiply(a: torch.Tensor, b: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """The product a b', written into ``memory``: allocating memory for each product would cost a fifth of its time.

    NumPy would halve the work of a a', but its threads and those of torch would block each other.
    """
    return torch.mm(a, b.T, out=memory[: len(a) * len(b)].view(len(a), len(b)))


def _largest(products: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and columns of the ``count`` largest entries of each row, in order. ``products`` may be a transposed view.

    A long row is split into 8 x ``count`` groups. The ``count``-th largest of the maxima of these groups is a floor
    that the ``count`` largest entries all reach and few others do, so only entries that reach it are sorted.
    """
    group = products.shape[1] // (8 * count)
    if group < 2 or products.device.type != "cpu":
        return products.topk(count, dim=1)
    rows, places = _reaching(products, _floor(products, count, group))  # places: columns of the products
    filled = np.bincount(rows, minlength=len(products))
    if filled.max() > 8 * count:  # many equal entries: the floor excludes too few
        return products.topk(count, dim=1)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(filled) - filled, filled)
    values = np.full((len(products), filled.max()), -np.inf, np.float32)
    origins = np.zeros(values.shape, np.int64)
    values[rows, columns], origins[rows, columns] = products.numpy()[rows, places], places
    best, order = torch.from_numpy(values).topk(count, dim=1)
    return best, torch.from_numpy(origins).gather(1, order)


def _floor(products: torch.Tensor, count: int, group: int) -> np.ndarray:
    """For each row, a value that its ``count`` largest entries reach: float32 [rows]."""
    groups = products.shape[1] // group
    if products.stride(1) == 1:
        maxima = products[:, : group * groups].unflatten(1, (group, groups)).amax(dim=1)
    else:
        maxima = products.T[: group * groups].unflatten(0, (group, groups)).amax(dim=0).T
    return np.partition(maxima.numpy(), groups - count, axis=1)[:, groups - count]


def _reaching(products: torch.Tensor, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of the products that reach the floor of their row, rows ascending."""
    if products.stride(1) == 1:
        flat = np.flatnonzero(products.numpy() >= floor[:, None])
        return np.divmod(flat, products.shape[1])
    flat = np.flatnonzero(products.T.numpy() >= floor)
    places, rows = np.divmod(flat, products.shape[0])
    order = np.argsort(rows, kind="stable")
    return rows[order], places[order]


def _exclude(products: torch.Tensor, own: torch.Tensor | None, tile: slice) -> None:
    """Set the product of each query with itself to -inf, in place, if this tile of the gallery contains it."""
    if own is not None:
        rows = ((own >= tile.start) & (own < tile.stop)).nonzero().flatten()
        products[rows, own[rows] - tile.start] = -torch.inf
