"""Effects of samples on scores of kernels (sums over pairs of samples), and of a regression."""

from __future__ import annotations

import numpy as np

from prh.core.metrics import kernels
from prh.core.metrics.effects import Effects, effects, of_pairs
from prh.core.metrics.representation import Representation
from prh.core.metrics.subspaces import PENALTIES, bases

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
    return _of_cosine(x, y, units, kernels.dissimilarities, "pearson")


@effects("rsa")
def rsa(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Of ``rsa`` with Spearman's correlation of the dissimilarities of all pairs.

    A pair of samples enters with its own two ranks, u and v (here centred, of variance 1/12), and moves the ranks of
    all pairs that are less alike: 12 (u v + mean over these pairs of v, by x, and of u, by y), less the mean over all
    pairs. Source: Croux and Dehon (2010), "Influence functions of the Spearman and Kendall correlation measures".
    """
    if not _fits(x):
        return None
    i, j = np.triu_indices(x.n)
    pairs = i != j
    u, v = (_packed(side, kernels.dissimilarities, "spearman")[pairs] for side in (x, y))
    u, v = (ranks / ranks.std() / np.sqrt(12) for ranks in (u, v))
    parts = 12 * (u * v + _mean_above(u, v) + _mean_above(v, u)) / len(u)
    return of_pairs(parts - parts.mean(), i[pairs], j[pairs], units)


@effects("linear_regression")
def linear_regression(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Of ``linear_regression``, at the penalty that is best for all samples.

    With M = I - H the residuals of the fit on all samples are R = M Y. Sample i, predicted without itself, errs by
    R_i / M_ii, and without itself and j by (M_jj R_i - M_ij R_j) / (M_ii M_jj - M_ij^2). The score is one less a
    ratio of two means over samples, of squared errors and of squared distances from the mean. None for groups: two
    samples of one group left out together would take other formulas.

    The jackknife counts twice what two samples do to the fit. The errors alone, as if there were one fit and no chance
    in it (Bayle et al. 2020, "Cross-validation confidence intervals for test error"), leave that out. The variance is
    taken halfway between the two, which is a choice: docs/statistics.md has its coverage.
    """
    if len(np.unique(units)) < x.n or not _fits(x):
        return None
    basis, Y = x.state(bases)[0], next(kernels.centred(y)).double().cpu().numpy()
    n, U, squared = x.n, basis.U.cpu().numpy(), basis.S.square().cpu().numpy()
    distances = np.square(Y).sum(axis=1)

    def residuals(ridge: float) -> tuple[np.ndarray, np.ndarray]:
        shrink = squared / (squared + ridge * squared.sum() / n)
        M = np.eye(n) - (U * shrink) @ U.T - 1 / n
        return M, M @ Y

    fits = [residuals(ridge) for ridge in PENALTIES]
    M, R = min(fits, key=lambda fit: np.square(fit[1] / fit[0].diagonal()[:, None]).sum())
    m, products = M.diagonal(), R @ R.T
    own = products.diagonal()
    errors = own / m**2
    determinant = np.outer(m, m) - M**2
    np.fill_diagonal(determinant, 1)
    pairwise = m**2 * own[:, None] - 2 * m * M * products + M**2 * own
    change = pairwise / determinant**2 - errors[:, None]
    np.fill_diagonal(change, 0)
    excess = errors - errors.sum() / distances.sum() * distances  # of mean 0; the score is linear in it
    alone = -excess / distances.sum()
    single = alone + change.sum(axis=0) / distances.sum()
    centred = single - single.mean()
    return Effects(single, (centred**2 - alone**2) / 2, float((alone**2).sum()))


def _of_cosine(x: Representation, y: Representation, units: np.ndarray, build, *options: object) -> Effects | None:
    """Of the cosine of two kernels a and b of unit norm: parts a b - score / 2 (a^2 + b^2)."""
    if not _fits(x):
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


def _fits(x: Representation) -> bool:
    return ROOM * kernels.packed_gb(x) <= x.memory_gb
