"""Effects of samples on ``linear_regression``, whose errors are measured on left-out samples."""

from __future__ import annotations

import numpy as np

from prh.core.metrics import kernels
from prh.core.metrics.effects import LEAST_OF_PAIRS, Effects, effects
from prh.core.metrics.effects_of_kernels import fits
from prh.core.metrics.representation import Representation
from prh.core.metrics.subspaces import PENALTIES, bases

ROOM = 64  # working memory of the effects, in multiples of one packed kernel: 16 matrices [n, n] of float64


@effects("linear_regression")
def linear_regression(x: Representation, y: Representation, k: int | None, units: np.ndarray) -> Effects | None:
    """Effects on ``linear_regression``, at the penalty that is best for all samples.

    With M = I - H, the residuals of the fit on all samples are R = M Y. The error of sample i, predicted without
    itself, is R_i / M_ii; without itself and j it is (M_jj R_i - M_ij R_j) / (M_ii M_jj - M_ij^2). The score is 1 minus
    the ratio of two means over samples: of squared errors, and of squared distances from the mean. Returns None for
    groups, because leaving out several samples at once would need other formulas.

    The interaction of i and j consists of the effect of each on the error of the other, and of their joint effect on
    the errors of all others (``_together``). The mean from which distances are measured adds -2 Y_i Y_j / n.
    """
    if len(np.unique(units)) < x.n or not fits(x, ROOM):
        return None
    basis, Y = x.state(bases)[0], next(kernels.centred(y)).double().cpu().numpy()
    n, U, squared = x.n, basis.U.cpu().numpy(), basis.S.square().cpu().numpy()
    distances = np.square(Y).sum(axis=1)

    def residuals(ridge: float) -> tuple[np.ndarray, np.ndarray]:
        shrink = squared / (squared + ridge * squared.sum() / n)
        M = np.eye(n) - (U * shrink) @ U.T - 1 / n
        return M, M @ Y

    M, R = min(map(residuals, PENALTIES), key=lambda fit: np.square(fit[1] / fit[0].diagonal()[:, None]).sum())
    products = R @ R.T
    errors, change = products.diagonal() / M.diagonal() ** 2, _changes(M, products)
    total, unexplained = distances.sum(), errors.sum() / distances.sum()
    alone = (unexplained * distances - errors) / total  # has mean 0; the score is linear in it
    pairs = change + change.T - _together(M, products) - 2 / n * unexplained * (Y @ Y.T)
    np.fill_diagonal(pairs, 0)
    halved = np.square(pairs / total).sum(axis=1) / 2
    least = max(
        n / (n - 1) * alone**2, LEAST_OF_PAIRS * halved, key=np.sum
    )  # as if only single samples, or only pairs, had effects
    return Effects(alone + change.sum(axis=0) / total, halved, least)


def _changes(M: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Increase of the squared error of sample i if j is left out: [n, n], 0 for i = j. ``products``: R R'."""
    m, own = M.diagonal(), products.diagonal()
    determinant = np.outer(m, m) - M**2
    np.fill_diagonal(determinant, 1)
    without = m**2 * own[:, None] - 2 * m * M * products + M**2 * own
    change = without / determinant**2 - (own / m**2)[:, None]
    np.fill_diagonal(change, 0)
    return change


def _together(M: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Interaction of samples i and j in the squared errors of all others, to second order: [n, n].

    That is the sum over all other k of the increase of the squared error of k when both i and j are left out, beyond
    the increases for leaving out each alone. ``products``: R R'.

    The error is |R_k|^2 / M_kk^2. Leaving out i subtracts M_ki R_i / M_ii from R_k and M_ki^2 / M_ii from M_kk; leaving
    out both adds M_ij (M_ki R_j + M_kj R_i) / (M_ii M_jj) and 2 M_ki M_ij M_kj / (M_ii M_jj) to these.
    """
    d, own = 1 / M.diagonal(), products.diagonal()
    M, others = M - np.diag(M.diagonal()), products - np.diag(own)  # without k = i
    of_residual = M * (M.T @ (d[:, None] ** 2 * others))
    of_leverage = (-M * others * d[:, None] ** 3).T @ (-(M**2))
    of_residual -= 2 * of_leverage
    of_both = products * ((d[:, None] ** 2 * M).T @ M)
    of_both += 3 * ((own * d**4)[:, None] * M**2).T @ M**2
    of_both -= 2 * M * (((own * d**3)[:, None] * M).T @ M)
    return 2 * np.outer(d, d) * (of_residual + of_residual.T + of_both)
