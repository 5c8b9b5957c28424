"""Effects of samples on CKNNA, which is made of sums over shared neighbours.

If a sample is left out of a list, the next neighbours move up (``effects_of_neighbours``).
"""

from __future__ import annotations

import numpy as np

from prh.core.metrics.effects import Effects, effects, of_means
from prh.core.metrics.effects_of_neighbours import Without, depth_for, kept_places, left_out, lists_of
from prh.core.metrics.masked_kernels import neighbour_kernels
from prh.core.metrics.representation import Representation


@effects("cknna")
def cknna(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Effects on ``cknna`` with U-centred kernels."""
    return _of_masked_kernels(x, y, k, units, "centred")


@effects("cknna_paper")
def cknna_paper(x: Representation, y: Representation, k: int, units: np.ndarray) -> Effects:
    """Effects on ``cknna`` with centred features."""
    return _of_masked_kernels(x, y, k, units, "paper")


def _of_masked_kernels(x: Representation, y: Representation, k: int, units: np.ndarray, centring: str) -> Effects:
    """Effects on the sum of K L over shared neighbours, divided by the norms of K and L over the neighbours in each.

    This is a ratio P / sqrt(X Y) of three sums over samples. Scaled so that X = Y = 1, its effects are those of
    P - score / 2 (X + Y). The change of the means by which kernels are centred is neglected.
    """
    depth = depth_for(x, y, k, units)
    K, L = (side.state(neighbour_kernels, depth, centring)[0] for side in (x, y))
    K, L = (kernel / np.sqrt(np.square(kernel[:, :k]).sum()) for kernel in (K, L))
    n, parts = len(K), []
    for lists in lists_of(x, y, k, units):
        rows = np.arange(len(lists.samples))
        first_k = kept_places(np.ones(lists.y.shape, bool), k, x.name, y.name)
        full = Without(first_k, first_k, lists.ranks[:, :k], np.minimum(lists.ranks[:, :k], k))
        event_rows, without, kept = left_out(lists, k, units, x.name, y.name)
        sums, changed = (
            _masked_sums(K[lists.samples[index]], L[lists.samples[index]], neighbours)
            for index, neighbours in ((rows, full), (event_rows, kept))
        )
        parts.append((sums, lists.samples[event_rows], without, changed - sums[event_rows]))
    sums, samples, without, change = (np.concatenate(part) for part in zip(*parts, strict=True))
    score = sums[:, 0].sum()
    weights = n * np.array([1, -score / 2, -score / 2])
    return of_means(sums @ weights, samples, without, change @ weights, units)


def _masked_sums(K: np.ndarray, L: np.ndarray, kept: Without) -> np.ndarray:
    """Sums of K L over shared neighbours, and of K^2 and L^2 over the neighbours in each: float64 [E, 3]."""
    k, depth = kept.in_x.shape[1], K.shape[1]
    in_y = np.take_along_axis(L, kept.in_y, axis=1)
    in_x = np.take_along_axis(K, np.minimum(kept.shared, depth - 1), axis=1) * (kept.ranks < k)
    own = np.take_along_axis(K, kept.in_x, axis=1)
    return np.stack([(in_x * in_y).sum(axis=1), np.square(own).sum(axis=1), np.square(in_y).sum(axis=1)], axis=1)
