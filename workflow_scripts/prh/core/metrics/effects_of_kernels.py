"""Effects of samples on the cosine of two kernels, which is a sum over pairs of samples."""

from __future__ import annotations

import numpy as np

from prh.core.metrics import kernels
from prh.core.metrics.dissimilarities import dissimilarities
from prh.core.metrics.effects import Effects, effects, of_pairs
from prh.core.metrics.packed_matrices import packed_gb
from prh.core.metrics.representation import Representation

ROOM = 16  # times the memory of one packed kernel that a score's effects take


@effects("cka")
def cka(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Of ``cka``."""
    return _of_cosine(x, y, units, kernels.linear_kernels)


@effects("cka_rbf")
def cka_rbf(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Of ``cka`` with a Gaussian kernel of sigma = 1."""
    return _of_cosine(x, y, units, kernels.rbf_kernels, 1.0)


@effects("unbiased_cka", "debiased_cka")
def unbiased_cka(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Of ``unbiased_cka``."""
    return _of_cosine(x, y, units, kernels.u_centred_kernels)


@effects("rsa_pearson")
def rsa_pearson(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Of ``rsa`` with Pearson's correlation."""
    return _of_cosine(x, y, units, dissimilarities, "pearson")


@effects("rsa")
def rsa(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Of ``rsa`` with Spearman's correlation of the dissimilarities of all pairs.

    A pair of samples enters with its own two ranks, u and v (here centred, of variance 1/12), and moves the ranks of
    all pairs that are less alike: 12 (u v + mean over these pairs of v, by x, and of u, by y), less the mean over all
    pairs. Source: Croux and Dehon (2010), "Influence functions of the Spearman and Kendall correlation measures".
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
    """Of the cosine of two kernels a and b of unit norm: parts a b - score / 2 (a^2 + b^2)."""
    if not fits(x):
        return None
    a, b = (_packed(side, build, *options) for side in (x, y))
    parts = a * b - (a @ b) / 2 * (a * a + b * b)
    return of_pairs(parts, *np.triu_indices(x.n), units)


def _packed(x: Representation, build, *options: object) -> np.ndarray:
    return x.state(build, *options)[0].double().cpu().numpy()


def _mean_above(by: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each pair the sum of ``values`` of the pairs that are as large or larger in ``by``, over all pairs."""
    order = np.argsort(by, kind="stable")
    ordered = by[order]
    ends = np.append(np.cumsum(values[order][::-1])[::-1], 0)
    return ends[np.searchsorted(ordered, by, side="left")] / len(by)


def fits(x: Representation, room: int = ROOM) -> bool:
    """Whether there is memory for arrays over all pairs of samples: for so many times a packed kernel."""
    return room * packed_gb(x) <= x.memory_gb
