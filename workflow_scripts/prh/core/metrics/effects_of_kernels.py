"""Effects of samples on scores that are cosines of two kernels, and thus sums over pairs of samples."""

from __future__ import annotations

import numpy as np

from prh.core.metrics import kernels
from prh.core.metrics.dissimilarities import dissimilarities
from prh.core.metrics.effects import Effects, effects, of_pairs
from prh.core.metrics.packed_matrices import packed_gb
from prh.core.metrics.representation import Representation

ROOM = 16  # working memory of the effects, in multiples of one packed kernel


@effects("cka")
def cka(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Effects on ``cka``."""
    return _of_cosine(x, y, units, kernels.linear_kernels)


@effects("cka_rbf")
def cka_rbf(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Effects on ``cka`` with a Gaussian kernel of sigma = 1."""
    return _of_cosine(x, y, units, kernels.rbf_kernels, 1.0)


@effects("unbiased_cka", "debiased_cka")
def unbiased_cka(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Effects on ``unbiased_cka``."""
    return _of_cosine(x, y, units, kernels.u_centred_kernels)


@effects("rsa_pearson")
def rsa_pearson(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Effects on ``rsa`` with Pearson's correlation."""
    return _of_cosine(x, y, units, dissimilarities, "pearson")


@effects("rsa")
def rsa(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Effects on ``rsa`` with Spearman's correlation of the dissimilarities of all pairs.

    A pair of samples contributes through its own two ranks u and v (centred, with variance 1/12), and by shifting the
    ranks of all pairs that are more dissimilar: 12 (u v + the mean of v over the pairs above it in x + the mean of u
    over those above it in y), minus the mean over all pairs. Source: Croux and Dehon (2010), "Influence functions of
    the Spearman and Kendall correlation measures".
    """
    if not fits(x):
        return None
    i, j = np.triu_indices(x.n)
    pairs = i != j
    u, v = (_packed(side, dissimilarities, "spearman")[pairs] for side in (x, y))
    u, v = (ranks / ranks.std() / np.sqrt(12) for ranks in (u, v))
    parts = 12 * (u * v + _mean_above(u, v) + _mean_above(v, u)) / len(u)
    return of_pairs(parts - parts.mean(), i[pairs], j[pairs], units)


def _of_cosine(x: Representation, y: Representation, units: np.ndarray, build, *options: object) -> Effects | None:
    """Effects on the cosine of two kernels a and b of unit norm; its parts are a b - score / 2 (a^2 + b^2)."""
    if not fits(x):
        return None
    a, b = (_packed(side, build, *options) for side in (x, y))
    parts = a * b - (a @ b) / 2 * (a * a + b * b)
    return of_pairs(parts, *np.triu_indices(x.n), units)


def _packed(x: Representation, build, *options: object) -> np.ndarray:
    return x.state(build, *options)[0].double().cpu().numpy()


def _mean_above(by: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each pair, the sum of ``values`` over the pairs that are at least as large in ``by``, over the number of
    pairs.
    """
    order = np.argsort(by, kind="stable")
    ordered = by[order]
    ends = np.append(np.cumsum(values[order][::-1])[::-1], 0)
    return ends[np.searchsorted(ordered, by, side="left")] / len(by)


def fits(x: Representation, room: int = ROOM) -> bool:
    """Whether ``memory_gb`` allows working memory of ``room`` packed kernels."""
    return room * packed_gb(x) <= x.memory_gb
