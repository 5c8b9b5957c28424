"""Effects of samples on a regression whose errors are measured on samples left out."""

from __future__ import annotations

import numpy as np

from prh.core.metrics import kernels
from prh.core.metrics.effects import Effects, effects
from prh.core.metrics.effects_of_kernels import fits
from prh.core.metrics.representation import Representation
from prh.core.metrics.subspaces import PENALTIES, bases


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
    if len(np.unique(units)) < x.n or not fits(x):
        return None
    basis, Y = x.state(bases)[0], next(kernels.centred(y)).double().cpu().numpy()
    n, U, squared = x.n, basis.U.cpu().numpy(), basis.S.square().cpu().numpy()
    distances = np.square(Y).sum(axis=1)

    def residuals(ridge: float) -> tuple[np.ndarray, np.ndarray]:
        shrink = squared / (squared + ridge * squared.sum() / n)
        M = np.eye(n) - (U * shrink) @ U.T - 1 / n
        return M, M @ Y

    tried = [residuals(ridge) for ridge in PENALTIES]
    M, R = min(tried, key=lambda fit: np.square(fit[1] / fit[0].diagonal()[:, None]).sum())
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
