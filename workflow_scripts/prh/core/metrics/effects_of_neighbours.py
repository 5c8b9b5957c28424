"""Effects of samples on the scores of lists of neighbours: leave a unit out, and the next neighbours move up.

Lists are read deeper than k, so that leaving out is exact and nothing is searched again. Only the samples that have a
member of the unit among their neighbours change.

    n samples, D depth of the lists, E events: (sample, unit left out) where something may change
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from prh.core.metrics.effects import Effects, effects, of_means
from prh.core.metrics.knn import edit_similarity, jaccard_similarity, lcs_similarity
from prh.core.metrics.representation import Representation

TILE = 2**22  # entries of events x depth that are laid out at once


class Lists(NamedTuple):
    """Neighbours of some samples in x and y, and where those of y stand in the lists of x."""

    samples: np.ndarray  # int [rows]
    x: np.ndarray  # int [rows, D]
    y: np.ndarray  # int [rows, D]
    ranks: np.ndarray  # int [rows, D]: place of y[i, b] in x[i], D if it is not there


class Without(NamedTuple):
    """The k nearest after leaving out units: places in the full lists."""

    in_x: np.ndarray  # int [E, k], places of the k nearest in the list of x
    in_y: np.ndarray  # int [E, k]
    shared: np.ndarray  # int [E, k], for each of in_y its place in the full list of x, D if it is not there
    ranks: np.ndarray  # int [E, k], for each of in_y its place among in_x, k if it is not there


@effects("mutual_knn")
def mutual(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Of ``mutual_knn``."""
    return _of_similarity(x, y, k, units, lambda ranks: (ranks < k).mean(axis=0))


@effects("jaccard_knn")
def jaccard(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Of ``jaccard_knn``."""
    return _of_similarity(x, y, k, units, jaccard_similarity)


@effects("lcs_knn")
def lcs(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Of ``lcs_knn``."""
    return _of_similarity(x, y, k, units, lcs_similarity)


@effects("edit_distance_knn")
def edit(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Of ``edit_distance_knn``."""
    return _of_similarity(x, y, k, units, edit_similarity)


@effects("cycle_knn")
def cycle(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Of ``cycle_knn``: sample i is found again if it is among the k nearest in x of one of its k nearest in y.

    Found or not is a share, whose variance is 0 where all are found, however few they are. Its least variance is that
    of Agresti and Coull (1998): with two more samples found and two not.
    """
    depth = depth_for(x, y, k, units)
    knn_x, knn_y = x.knn(depth)[0], y.knn(depth)[0]
    parts = []
    for rows in _tiles(len(knn_x), depth * depth):
        samples, near = np.arange(rows.start, rows.stop), knn_y[rows]
        at = knn_x[near] == samples[:, None, None]
        ranks = np.where(at.any(axis=2), at.argmax(axis=2), depth)  # of each sample in the lists of its neighbours
        values = (ranks[:, :k] < k).any(axis=1).astype(float)
        row, place = np.nonzero((ranks >= k) & (ranks < depth))  # would be found if some nearer sample were left out
        nearer = units[knn_x[near[row, place], :]]
        event_rows, event_units = _events(
            units,
            samples,
            np.concatenate([np.repeat(np.arange(len(samples)), k), np.repeat(row, depth)]),
            np.concatenate([units[near[:, :k]].ravel(), nearer.ravel()]),
        )
        kept = kept_places(units[near[event_rows]] != event_units[:, None], k, x.name, y.name)
        rank = np.take_along_axis(ranks[event_rows], kept, axis=1)
        event, which = np.nonzero((rank >= k) & (rank < depth))
        before = rank[event, which]
        through = near[event_rows[event], kept[event, which]]
        gone = (units[knn_x[through]] == event_units[event, None]) & (np.arange(depth) < before[:, None])
        found = rank < k
        found[event, which] = before - gone.sum(axis=1) < k
        parts.append((values, samples[event_rows], event_units, found.any(axis=1) - values[event_rows]))
    values, samples, without, change = (np.concatenate(part) for part in zip(*parts, strict=True))
    found_effects = of_means(values, samples, without, change, units)
    count = len(found_effects.single)
    share = (count * values.mean() + 2) / (count + 4)
    least = np.full(count, share * (1 - share) / (count + 4) / count)
    return found_effects if found_effects.least.sum() > least.sum() else replace(found_effects, least=least)


def _of_similarity(
    x: Representation,
    y: Representation,
    k: int,
    units: np.ndarray,
    similarity: Callable[[np.ndarray], np.ndarray],
) -> Effects:
    """Of a mean over samples of ``similarity``, from ranks [k, cases] (place in x, or k) to [cases]."""
    parts = []
    for lists in lists_of(x, y, k, units):
        values = similarity(np.minimum(lists.ranks[:, :k], k).T.astype(np.int16))
        rows, without, kept = left_out(lists, k, units, x.name, y.name)
        change = similarity(np.ascontiguousarray(kept.ranks.T, np.int16)) - values[rows]
        parts.append((values, lists.samples[rows], without, change))
    return of_means(*(np.concatenate(part) for part in zip(*parts, strict=True)), units)


def depth_for(x: Representation, y: Representation, k: int, units: np.ndarray) -> int:
    """How deep lists are read: k, and as many more as a unit can take out of them, if there are so many."""
    return min(k + int(np.bincount(units).max()), x.depth, y.depth)


def lists_of(x: Representation, y: Representation, k: int, units: np.ndarray) -> Iterator[Lists]:
    depth = depth_for(x, y, k, units)
    knn_x, knn_y = x.knn(depth)[0], y.knn(depth)[0]
    for rows in _tiles(len(knn_x), 4 * k * depth):
        at = knn_y[rows][:, :, None] == knn_x[rows][:, None, :]
        ranks = np.where(at.any(axis=2), at.argmax(axis=2), depth)
        yield Lists(np.arange(rows.start, rows.stop), knn_x[rows], knn_y[rows], ranks)


def left_out(lists: Lists, k: int, units: np.ndarray, *names: str) -> tuple[np.ndarray, np.ndarray, Without]:
    """Rows of ``lists`` and units of all events, and the lists without these units."""
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
    """Each (row, unit) once, but a sample with its own unit, with which it is left out itself."""
    count = int(units.max()) + 1
    code = np.unique(rows.astype(np.int64) * count + without)
    rows, without = code // count, code % count
    others = without != units[samples[rows]]
    return rows[others], without[others]


def kept_places(stay: np.ndarray, k: int, *names: str) -> np.ndarray:
    """Places of the first k that stay: int [E, k]; ValueError if there are fewer in a row."""
    if len(stay) and stay.sum(axis=1).min() < k:
        raise ValueError(
            f"{' and '.join(names)}: where a sample (with its group) is left out, fewer than k = {k} neighbours are "
            "listed; lower k, make the lists deeper (k_max) or the groups smaller, or set subsamples to 0."
        )
    return np.argsort(~stay, axis=1, kind="stable")[:, :k]


def _tiles(n: int, entries: int) -> list[slice]:
    step = max(1, TILE // entries)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
