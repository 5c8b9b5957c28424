"""Effects of samples on metrics of neighbour lists: if a unit is left out, the next neighbours move up.

Lists are read deeper than k, so that the lists without a unit are exact and nothing is searched again. Only samples
that have a member of the unit among their neighbours change.

Symbols: n samples; D depth of the lists; E events, a (sample, unit left out) whose value may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from prh.core.metrics.effects import Effects, effects, of_means
from prh.core.metrics.knn import edit_similarity, jaccard_similarity, lcs_similarity
from prh.core.metrics.representation import Representation

TILE = 2**22  # entries (events x depth) processed at once


class Lists(NamedTuple):
    """Neighbours of some samples in x and y, and the ranks of those in y within the lists of x."""

    samples: np.ndarray  # int [rows]
    x: np.ndarray  # int [rows, D]
    y: np.ndarray  # int [rows, D]
    ranks: np.ndarray  # int [rows, D]: rank of y[i, b] in x[i], D if absent


class Without(NamedTuple):
    """The k nearest neighbours after leaving out units, as ranks in the full lists."""

    in_x: np.ndarray  # int [E, k], ranks of the k nearest in the full list of x
    in_y: np.ndarray  # int [E, k], ranks of the k nearest in the full list of y
    shared: np.ndarray  # int [E, k], for each of in_y its rank in the full list of x, D if absent
    ranks: np.ndarray  # int [E, k], for each of in_y its rank among in_x, k if absent


@effects("mutual_knn")
def mutual(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Effects on ``mutual_knn``."""
    return _of_similarity(x, y, k, units, lambda ranks: (ranks < k).mean(axis=0))


@effects("jaccard_knn")
def jaccard(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Effects on ``jaccard_knn``."""
    return _of_similarity(x, y, k, units, jaccard_similarity)


@effects("lcs_knn")
def lcs(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Effects on ``lcs_knn``."""
    return _of_similarity(x, y, k, units, lcs_similarity)


@effects("edit_distance_knn")
def edit(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Effects on ``edit_distance_knn``."""
    return _of_similarity(x, y, k, units, edit_similarity)


@effects("cycle_knn")
def cycle(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Effects on ``cycle_knn``: sample i is found again if it is among the k nearest in x of one of its k nearest in y.

    The score is the share of samples found again, whose estimated variance is 0 if all are found, however few they are.
    The lower bound is therefore that of Agresti and Coull (1998), which adds two samples found and two not found.
    """
    depth = depth_for(x, y, k, units)
    knn_x, knn_y = x.knn(depth)[0], y.knn(depth)[0]
    parts = []
    for rows in _tiles(len(knn_x), depth * depth):
        samples, near = np.arange(rows.start, rows.stop), knn_y[rows]
        matches = knn_x[near] == samples[:, None, None]
        ranks = np.where(matches.any(axis=2), matches.argmax(axis=2), depth)  # of a sample in its neighbours' lists
        values = (ranks[:, :k] < k).any(axis=1).astype(float)
        row, via = np.nonzero((ranks >= k) & (ranks < depth))  # found again if enough nearer samples are left out
        nearer = units[knn_x[near[row, via], :]]
        event_rows, event_units = _events(
            units,
            samples,
            np.concatenate([np.repeat(np.arange(len(samples)), k), np.repeat(row, depth)]),
            np.concatenate([units[near[:, :k]].ravel(), nearer.ravel()]),
        )
        kept = kept_places(units[near[event_rows]] != event_units[:, None], k, x.name, y.name)
        rank = np.take_along_axis(ranks[event_rows], kept, axis=1)
        event, via = np.nonzero((rank >= k) & (rank < depth))
        before = rank[event, via]
        through = near[event_rows[event], kept[event, via]]
        gone = (units[knn_x[through]] == event_units[event, None]) & (np.arange(depth) < before[:, None])
        found_again = rank < k
        found_again[event, via] = before - gone.sum(axis=1) < k
        parts.append((values, samples[event_rows], event_units, found_again.any(axis=1) - values[event_rows]))
    values, samples, without, change = (np.concatenate(part) for part in zip(*parts, strict=True))
    measured = of_means(values, samples, without, change, units)
    count = len(measured.single)
    share = (count * values.mean() + 2) / (count + 4)
    least = np.full(count, share * (1 - share) / (count + 4) / count)
    return measured if measured.least.sum() > least.sum() else replace(measured, least=least)


def _of_similarity(
    x: Representation,
    y: Representation,
    k: int,
    units: np.ndarray,
    similarity: Callable[[np.ndarray], np.ndarray],
) -> Effects:
    """Effects on a mean over samples of ``similarity``, which maps ranks in x (k if absent) [k, cases] to [cases]."""
    parts = []
    for lists in lists_of(x, y, k, units):
        values = similarity(np.minimum(lists.ranks[:, :k], k).T.astype(np.int16))
        rows, without, kept = left_out(lists, k, units, x.name, y.name)
        change = similarity(np.ascontiguousarray(kept.ranks.T, np.int16)) - values[rows]
        parts.append((values, lists.samples[rows], without, change))
    return of_means(*(np.concatenate(part) for part in zip(*parts, strict=True)), units)


def depth_for(x: Representation, y: Representation, k: int, units: np.ndarray) -> int:
    """How many neighbours to read: k plus the size of the largest unit, or all if the lists are shorter."""
    return min(k + int(np.bincount(units).max()), x.depth, y.depth)


def lists_of(x: Representation, y: Representation, k: int, units: np.ndarray) -> Iterator[Lists]:
    """The lists of all samples, in tiles of bounded memory."""
    depth = depth_for(x, y, k, units)
    knn_x, knn_y = x.knn(depth)[0], y.knn(depth)[0]
    for rows in _tiles(len(knn_x), 4 * k * depth):
        matches = knn_y[rows][:, :, None] == knn_x[rows][:, None, :]
        ranks = np.where(matches.any(axis=2), matches.argmax(axis=2), depth)
        yield Lists(np.arange(rows.start, rows.stop), knn_x[rows], knn_y[rows], ranks)


def left_out(lists: Lists, k: int, units: np.ndarray, *names: str) -> tuple[np.ndarray, np.ndarray, Without]:
    """(rows of ``lists``, units left out, the lists without these units) of all events."""
    depth = lists.x.shape[1]
    near = np.concatenate([units[lists.x[:, :k]], units[lists.y[:, :k]]], axis=1)
    rows, without = _events(units, lists.samples, np.repeat(np.arange(len(near)), 2 * k), near.ravel())
    stay_x, stay_y = (units[side[rows]] != without[:, None] for side in (lists.x, lists.y))
    in_x, in_y = (kept_places(stay, k, *names) for stay in (stay_x, stay_y))
    shared = np.take_along_axis(lists.ranks[rows], in_y, axis=1)
    gone_before = np.pad(np.cumsum(~stay_x, axis=1), ((0, 0), (1, 0)))
    ranks = np.minimum(shared - np.take_along_axis(gone_before, shared, axis=1), k)
    return rows, without, Without(in_x, in_y, shared, np.where(shared == depth, k, ranks))


def _events(
    units: np.ndarray, samples: np.ndarray, rows: np.ndarray, without: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each distinct (row, unit), except the unit of the sample itself, which would be left out along with it."""
    count = int(units.max()) + 1
    code = np.unique(rows.astype(np.int64) * count + without)
    rows, without = code // count, code % count
    others = without != units[samples[rows]]
    return rows[others], without[others]


def kept_places(stay: np.ndarray, k: int, *names: str) -> np.ndarray:
    """Ranks of the first k neighbours that stay: int [E, k]; ValueError if a row has fewer."""
    if len(stay) and stay.sum(axis=1).min() < k:
        raise ValueError(
            f"{' and '.join(names)}: without a sample (and its group) a list has fewer than k = {k} neighbours; "
            "lower k, raise k_max, make the groups smaller, or set subsamples to 0."
        )
    return np.argsort(~stay, axis=1, kind="stable")[:, :k]


def _tiles(n: int, entries: int) -> list[slice]:
    step = max(1, TILE // entries)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
