"""Exact nearest neighbours by inner product, by tiles, on CPU or GPU.

Products are float32 (never TF32 or bfloat16: they tie or swap neighbours). Where two candidates are closer than float32
rounding can tell apart, their products are taken again in float64, so that the order does not depend on the device, the
tile or the library: similarity is the float64 product rounded to float32, and equal ones are in a random order that is
the row's own (``prh.core.ties``).
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

MARGIN = 4  # candidates kept beyond the k-th place, so that near-ties there can be told apart without a new search


class Neighbours(NamedTuple):
    """What ``nearest`` finds.

    indices : int32 [n, k], nearest first.
    ties : float64 [k], at place j - 1 the share of rows whose j-th and (j+1)-th neighbours are equally near: there
        chance decides which is among the j nearest.
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
        From 1 to the number of samples that a query can have as neighbours.
    gallery : floating [m, d], optional
        Where to search. By default ``x`` itself, each row's neighbours being other rows.
    own : int [n], optional
        Place of each query in ``gallery``, excluded from its neighbours; by default none is.
    key : int, optional
        Of the random order of equally near samples (``prh.core.ties.key_of``); by default the gallery's content is
        the key. Models that are compared need keys of their own.
    numbers : int [m], optional
        Numbers of the gallery's samples in that order, where it is a part of a larger set; by default 0 ... m - 1.
    precision : {"float32", "bfloat16"}
        What products are rounded to. "bfloat16" is for parity with code that computes so: most rows tie then.
    device : str
        torch device of the products.
    memory_gb : float
        Bound on products and candidates beside the inputs: n x m is never held where it is larger than that.

    Raises ValueError for arrays that are not floating [n, d], hold NaN or inf, differ in width, or have too few rows.
    """
    x, within = as_matrix(x, "x", device), gallery is None
    gallery, own = (x, np.arange(len(x))) if within else (as_matrix(gallery, "gallery", device), own)
    if gallery.shape[1] != x.shape[1]:
        raise ValueError(f"x has {x.shape[1]} columns and gallery {gallery.shape[1]}; they must be the same features.")
    most = len(gallery) - (own is not None)
    if not isinstance(k, (int, np.integer)) or not 1 <= k <= most:
        raise ValueError(
            f"k is {k!r}, but a query has {most} possible neighbours: k must be an integer from 1 to {most}."
        )
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision is {precision!r}; it must be 'float32' or 'bfloat16'.")
    error = rounding(x.shape[1]) * float(gallery.norm(dim=1).max())
    numbers = torch.arange(len(gallery), device=x.device) if numbers is None else _as_indices(numbers, x.device)
    order = _Lots(key, numbers)
    search = _Search(gallery, int(k), min(int(k) + MARGIN, most), most, error, precision == "bfloat16", order)
    selves = None if own is None else _as_indices(own, x.device)
    indices, tied = np.empty((len(x), k), np.int32), np.zeros(k)
    with full_float32():
        for rows, values, found in search.candidates(x, selves, memory_gb, within):
            own_rows = None if selves is None else selves[rows]
            samples = torch.arange(rows.start, rows.stop, device=x.device) if selves is None else numbers[own_rows]
            settled, equal = search.settle(x[rows], values, found, own_rows, samples)
            indices[rows] = settled.cpu().numpy()
            tied += equal
    return Neighbours(indices, tied / len(x))


def _as_indices(numbers: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(np.asarray(numbers, np.int64), device=device)


def rounding(d: int) -> float:
    """Bound on the error of a float32 product of ``d`` terms, relative to the norms of its factors.

    Within one block of a BLAS kernel, some hundred terms, roundings (2**-24 each) can point one way; blocks add up as a
    random walk. Measured over d = 8 ... 8192, processors and positive terms, the worst case: at most 23 roundings.
    """
    return 2.0**-24 * max(48.0, d**0.5)


class _Best:
    """The largest products seen so far of each of some queries, and where in the gallery they were."""

    def __init__(self, rows: int, depth: int, device: torch.device) -> None:
        self.values = torch.full((rows, depth), -torch.inf, device=device)
        self.found = torch.zeros((rows, depth), dtype=torch.int64, device=device)

    def see(self, rows: slice, products: torch.Tensor, offset: int) -> None:
        """Take in the products of ``rows`` with the part of the gallery that begins at ``offset``."""
        depth = self.values.shape[1]
        values, places = _largest(products, min(depth, products.shape[1]))
        values, found = torch.cat([self.values[rows], values], 1), torch.cat([self.found[rows], places + offset], 1)
        self.values[rows], best = values.topk(depth, dim=1)
        self.found[rows] = found.gather(1, best)


@dataclass
class _Lots:
    """The random order of equally near samples of a gallery; without a key, the content is looked at on first use."""

    key: int | None
    numbers: torch.Tensor  # int64 [m]

    def places(self, gallery: torch.Tensor, samples: torch.Tensor, found: torch.Tensor | None = None) -> torch.Tensor:
        """``ties.priorities`` of the candidates ``found`` [rows, c] (by default the whole gallery) of some samples."""
        if self.key is None:
            self.key = ties.key_of_content(gallery)
        return ties.priorities(self.key, samples, self.numbers if found is None else self.numbers[found])


class _Search(NamedTuple):
    """A search for the k nearest in one gallery."""

    gallery: torch.Tensor
    k: int
    depth: int  # candidates kept per query: k and a margin
    most: int  # candidates there can be
    rounding: float  # bound on the error of a float32 product with a query of norm 1
    coarse: bool  # similarities are rounded to bfloat16
    lots: _Lots

    def candidates(
        self, queries: torch.Tensor, own: torch.Tensor | None, memory_gb: float, within: bool
    ) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Some queries at a time: (rows, their best float32 products in order, where in the gallery these are).

        Products are taken by tiles. ``within``: the queries are the gallery, and each product serves both its samples.
        """
        entries = int(memory_gb * 2**30 / 16)  # a float32 product, and what top-k holds beside it
        m = len(self.gallery)
        width = min(m, max(4 * self.depth, math.isqrt(entries)))  # square tiles: least traffic per product
        if within and 2 * m * self.depth <= entries:
            best = _Best(m, self.depth, queries.device)
            # Small tiles save more: only those on the diagonal are not used twice. Long rows are cheap to select from.
            tiles = tiled(m, min(width, max(4096, 256 * self.depth)))
            self._multiply_within(best, tiles)
            for rows in tiles:
                yield rows, best.values[rows], best.found[rows]
            return
        height = min(len(queries), max(1, entries // width))
        memory = torch.empty(height * width, device=queries.device)
        for rows in tiled(len(queries), height):
            best = _Best(rows.stop - rows.start, self.depth, queries.device)
            for tile in tiled(m, width):
                products = _multiply(queries[rows], self.gallery[tile], memory)
                _exclude(products, None if own is None else own[rows], tile)
                best.see(slice(None), products, tile.start)
            yield rows, best.values, best.found

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
        found: torch.Tensor,
        own: torch.Tensor | None,
        samples: torch.Tensor,
    ) -> tuple[torch.Tensor, np.ndarray]:
        """(indices [rows, k], number of rows with a tie at each place [k]), from candidates in order of float32.

        ``own``: places of the queries in the gallery; ``samples``: their numbers in the order of ties.
        """
        slack = 2 * self.rounding * queries.norm(dim=1, keepdim=True)
        close = values[:, :-1] - values[:, 1:] <= slack
        unsure = close[:, : self.k].any(dim=1)
        # Candidates cannot settle a row whose last one is still within rounding of the k-th: more may be out there.
        overflow = unsure & (values[:, self.k - 1] - values[:, -1] <= slack[:, 0]) & (self.depth < self.most)
        if self.coarse:
            overflow = torch.ones_like(overflow)
        tied = np.zeros(self.k)
        rows = (unsure & ~overflow).nonzero().flatten()
        if len(rows):
            exact, found[rows] = self.rank_candidates(
                queries[rows], values[rows], found[rows], close[rows], samples[rows]
            )
            tied += self.count_ties(exact)
        many = overflow.nonzero().flatten()
        for rows in many.split(max(1, 2**24 // len(self.gallery))) if len(many) else ():
            exact, found[rows] = self.rank_gallery(queries[rows], None if own is None else own[rows], samples[rows])
            tied += self.count_ties(exact)
        return found[:, : self.k], tied

    def rank_candidates(
        self,
        queries: torch.Tensor,
        values: torch.Tensor,
        found: torch.Tensor,
        close: torch.Tensor,
        samples: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The candidates in order of their products, then of lots; those ``close`` to the next are multiplied again.

        Again in float64, rounded to float32. The others are further from all than rounding can carry them.
        """
        near = torch.nn.functional.pad(close, (1, 0)) | torch.nn.functional.pad(close, (0, 1))
        for part in near.nonzero().split(max(1, 2**24 // self.gallery.shape[1])):
            row, place = part.T
            factors = queries[row].double(), self.gallery[found[row, place]].double()
            values[row, place] = (factors[0] * factors[1]).sum(dim=1).float()
        order = ties.sortable(values, self.lots.places(self.gallery, samples, found)).argsort(dim=1, descending=True)
        return values.gather(1, order), found.gather(1, order)

    def rank_gallery(
        self, queries: torch.Tensor, own: torch.Tensor | None, samples: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same over the whole gallery: for duplicates and other rows with more near-ties than candidates."""
        exact = torch.cat([(queries.double() @ part.double().T).float() for part in self.gallery.split(2**14)], 1)
        if self.coarse:
            exact = exact.bfloat16().float()
        _exclude(exact, own, slice(0, len(self.gallery)))
        order = ties.sortable(exact, self.lots.places(self.gallery, samples)).topk(self.depth, dim=1).indices
        return exact.gather(1, order), order

    def count_ties(self, exact: torch.Tensor) -> np.ndarray:
        """How many rows have equal products at places j and j + 1, int [k] (after the last candidate there is none)."""
        equal = (exact[:, :-1] == exact[:, 1:])[:, : self.k].sum(dim=0).cpu().numpy()
        return np.pad(equal, (0, self.k - len(equal)))


def _multiply(a: torch.Tensor, b: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """The product a b', in ``memory``: fresh memory for each product would cost a fifth of its time.

    Not by NumPy, though its BLAS halves the work of a a': the threads of the two libraries wait for each other.
    """
    return torch.mm(a, b.T, out=memory[: len(a) * len(b)].view(len(a), len(b)))


def _largest(products: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and places of the ``count`` largest of each row, in order. ``products`` may be a transposed matrix.

    Of a long row only what reaches a floor is looked at, the ``count``-th largest maximum of 8 x ``count`` groups: the
    ``count`` largest of all reach it, and little else does.
    """
    group = products.shape[1] // (8 * count)
    if group < 2 or products.device.type != "cpu":
        return products.topk(count, dim=1)
    rows, places = _reaching(products, _floor(products, count, group))
    filled = np.bincount(rows, minlength=len(products))
    if filled.max() > 8 * count:  # many equal ones
        return products.topk(count, dim=1)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(filled) - filled, filled)
    values = np.full((len(products), filled.max()), -np.inf, np.float32)
    found = np.zeros(values.shape, np.int64)
    values[rows, columns], found[rows, columns] = products.numpy()[rows, places], places
    best, order = torch.from_numpy(values).topk(count, dim=1)
    return best, torch.from_numpy(found).gather(1, order)


def _floor(products: torch.Tensor, count: int, group: int) -> np.ndarray:
    """A value for each row that its ``count`` largest reach."""
    groups = products.shape[1] // group
    if products.stride(1) == 1:
        maxima = products[:, : group * groups].unflatten(1, (group, groups)).amax(dim=1)
    else:
        maxima = products.T[: group * groups].unflatten(0, (group, groups)).amax(dim=0).T
    return np.partition(maxima.numpy(), groups - count, axis=1)[:, groups - count]


def _reaching(products: torch.Tensor, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows, ascending, and columns of the products that are not below their row's floor."""
    if products.stride(1) == 1:
        flat = np.flatnonzero(products.numpy() >= floor[:, None])
        return np.divmod(flat, products.shape[1])
    flat = np.flatnonzero(products.T.numpy() >= floor)
    places, rows = np.divmod(flat, products.shape[0])
    order = np.argsort(rows, kind="stable")
    return rows[order], places[order]


def _exclude(products: torch.Tensor, own: torch.Tensor | None, tile: slice) -> None:
    """Set to -inf, in place, the product of each query with itself where this tile of the gallery holds it."""
    if own is not None:
        rows = ((own >= tile.start) & (own < tile.stop)).nonzero().flatten()
        products[rows, own[rows] - tile.start] = -torch.inf
