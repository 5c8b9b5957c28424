r"""Metrics on the features themselves, up to a linear map: can the features of one model be mapped to the other's?

Every layer is decomposed once, X = U S V', in float64. A layer pair then only needs the product of two bases and the
singular values of that small matrix. Singular values below the rounding error of the float32 features count as 0, so
that scores do not depend on directions of mere rounding error. Nor do they depend on which basis the decomposition
returns for a subspace of equal singular values, which changes with the order of the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from prh.core.metrics.base import Representation, metric, movable
from prh.core.metrics.kernels import centred, linear_kernels
from prh.core.metrics.packed_matrices import move_packed, packed, packed_diagonal, packed_gb, packed_products

if TYPE_CHECKING:
    import torch


EQUAL = 1e-7  # singular values and correlations (float64) that differ by less count as equal
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # for linear_regression, relative to the mean squared norm of a sample


class Basis(NamedTuple):
    """U and S of X = U S V' for one layer: U [n, r] orthonormal, S [r] descending, r the numerical rank."""

    U: torch.Tensor
    S: torch.Tensor


@metric(
    summary="mean canonical correlation of 10 components",
    needs="features",
    symmetric=True,
    bounded=True,
    halves="contrast",
)
def svcca(x: Representation, y: Representation, dims: int = 10) -> np.ndarray:
    """Singular vector CCA: mean canonical correlation of the ``dims`` leading components of standardised columns.

    The SVD is exact; the official code of Huh et al. uses a randomised one, whose result changes from run to run.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples.
    dims : int
        Number of leading components, from 1 to n - 1. A layer of lower rank contributes all its components, and the
        mean is over the smaller number. Components as large as the last one are included too.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1].

    Raises
    ------
    ValueError
        For ``dims`` outside 1 to n - 1.

    References
    ----------
    Raghu et al. (2017), "SVCCA".

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(svcca(x, 2 * x, dims=3), 6)
    1.0
    """
    if not 1 <= dims < x.n:
        raise ValueError(f"dims is {dims}; with {x.n} samples it must be from 1 to {x.n - 1}.")
    a, b = ([basis.U for basis in side.state(standardised_bases, dims)] for side in (x, y))
    return _pairwise(a, b, lambda p, q: _singular_values(p.T @ q).sum() / min(p.shape[1], q.shape[1]))


@metric(
    summary="canonical correlations weighted by their share of x",
    needs="features",
    symmetric=False,
    bounded=True,
    halves="contrast",
)
def pwcca(x: Representation, y: Representation, variance: float = 0.99) -> np.ndarray:
    """Projection-weighted CCA: mean canonical correlation, weighted by how much of x each direction accounts for.

    Not symmetric: the weights are those of x. If both models together keep more than n - 1 components, several
    correlations are 1 and their directions are an arbitrary basis of a subspace; the weight of that subspace is the
    mean over all its bases (``_weights``).

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples.
    variance : float
        Share of the variance, in (0, 1], that the leading components kept of each model explain. With 1 all are kept;
        if d >= n all correlations are then 1 and meaningless.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1].

    Raises
    ------
    ValueError
        For ``variance`` outside (0, 1].

    References
    ----------
    Morcos, Raghu and Bengio (2018), "Insights on representational similarity in neural networks".

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(pwcca(x, 2 * x), 6)
    1.0
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance is {variance}; it must be a share in (0, 1].")
    a, b = (side.state(leading_bases, variance) for side in (x, y))
    loadings = x.state(leading_loadings, variance)

    def score(p: tuple[Basis, torch.Tensor], q: Basis) -> float:
        import torch

        basis, loading = p
        directions, correlations, _ = torch.linalg.svd(basis.U.T @ q.U, full_matrices=False)
        correlations = correlations.clamp(max=1)
        weights, group = _weights(directions.T @ loading, correlations)
        means = torch.zeros_like(weights).index_add(0, group, correlations) / group.bincount()
        return (weights * means).sum() / weights.sum()

    return _pairwise(list(zip(a, loadings, strict=True)), b, score)


@metric(summary="orthogonal Procrustes similarity", needs="features", symmetric=True, bounded=True)
def procrustes(x: Representation, y: Representation) -> np.ndarray:
    r"""Similarity after the best rotation: the nuclear norm of X'Y for centred X and Y of unit Frobenius norm.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1]; the squared Procrustes distance is 2 minus twice the score.

    Raises
    ------
    ValueError
        For arrays that a ``Representation`` rejects.

    References
    ----------
    Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem"; Ding, Denain and Steinhardt
    (2021), "Grounding Representation Similarity with Statistical Testing".

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 2))
    >>> round(procrustes(x, x @ np.array([[0.0, -1.0], [1.0, 0.0]])), 6)
    1.0
    """
    a, b = ([basis.U * (basis.S / basis.S.norm()) for basis in side.state(bases)] for side in (x, y))
    return _pairwise(a, b, lambda p, q: _singular_values(p.T @ q).sum())


@metric(summary="cross-validated R2 of predicting y from x", needs="features", symmetric=False, bounded=True)
def linear_regression(x: Representation, y: Representation, ridge: float | None = None) -> np.ndarray:
    """Share of the variance of y's features that a linear map of x's features predicts on left-out samples (R2).

    Not symmetric. Each sample is predicted by ridge regression on all others, so there are no folds to choose, and the
    order of the samples does not matter.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples; n >= 3.
    ridge : float, optional
        Penalty relative to the mean squared norm of the centred samples of x, positive. None: for each layer pair the
        best of ``PENALTIES``.

    Returns
    -------
    float, or float64 [L_x, L_y]
        At most 1; negative if the prediction is worse than the mean of y. With a fixed penalty it can be far below 0 if
        n is close to the width of x; the best penalty avoids that, because a large one predicts the mean.

    Raises
    ------
    ValueError
        For fewer than 3 samples, or a ``ridge`` that is not positive.

    Notes
    -----
    Fitted values are H Y, where H depends on x alone. The error of sample i predicted without itself is its residual
    over 1 - H_ii. So with E = (I - H) / (1 - diag H), R2 = 1 - <E'E, YY'> / trace(YY'), which is one matrix product for
    all layer pairs.

    References
    ----------
    Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", section 3.4, without
    cross-validation; Allen (1974), "The relationship between variable selection and data augmentation and a method for
    prediction", for the closed form.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> linear_regression(x, 2 * x) > 0.99
    True
    """
    if x.n < 3:
        raise ValueError(f"{x.name} has {x.n} samples; linear_regression needs at least 3.")
    if ridge is not None and not ridge > 0:
        raise ValueError(f"ridge is {ridge}; a penalty must be positive.")
    kernels = y.state(linear_kernels)
    traces = kernels[:, packed_diagonal(x.n)].double().sum(dim=1).cpu().numpy()
    penalties = PENALTIES if ridge is None else (ridge,)
    kept = len(penalties) * packed_gb(x) <= x.memory_gb  # else one penalty at a time, recomputed for the next y
    errors = [
        packed_products(x.state(residual_forms, penalty) if kept else residual_forms(x, penalty), kernels)
        for penalty in penalties
    ]
    return 1 - np.min(errors, axis=0) / traces


# States of one representation ----------------------------------------------------------------------------------------


@movable(lambda bases, order: [Basis(basis.U[order], basis.S) for basis in bases])
def bases(x: Representation) -> list[Basis]:
    """``Basis`` of each centred layer."""
    return [_basis(layer) for layer in centred(x)]


@movable(lambda bases, order: [Basis(basis.U[order], basis.S) for basis in bases])
def leading_bases(x: Representation, variance: float) -> list[Basis]:
    """``Basis`` of each centred layer, cut to the components that explain ``variance`` of its variance."""
    return [_leading(basis, variance) for basis in x.state(bases)]


@movable(lambda loadings, _order: loadings)
def leading_loadings(x: Representation, variance: float) -> list[torch.Tensor]:
    """U'X of each layer: float64 [r, d_l], the loadings of its leading components on its features."""
    return [
        basis.U.T @ layer.double() for basis, layer in zip(x.state(leading_bases, variance), centred(x), strict=True)
    ]


@movable(lambda bases, order: [Basis(basis.U[order], basis.S) for basis in bases])
def standardised_bases(x: Representation, dims: int) -> list[Basis]:
    """The ``dims`` leading components of each layer, columns scaled to mean 0 and variance 1 (constant ones: 0)."""

    def standardise(layer: torch.Tensor) -> torch.Tensor:
        deviation = layer.double().std(dim=0)
        return (layer / deviation.clamp(min=1e-8)).float()

    return [_first(_basis(standardise(layer)), dims) for layer in centred(x)]


@movable(move_packed)
def residual_forms(x: Representation, ridge: float) -> torch.Tensor:
    """E'E of each layer (see ``linear_regression``), packed like the kernels: float32 [L, n (n + 1) / 2]."""

    def form(basis: Basis) -> torch.Tensor:
        errors = leave_one_out_errors(basis, ridge).float()
        return errors.T @ errors

    return packed(x, (form(basis) for basis in x.state(bases)))


def leave_one_out_errors(basis: Basis, ridge: float) -> torch.Tensor:
    """E [n, n]: row i of E Y is the error of sample i when predicted from all others by ridge regression with
    intercept.
    """
    import torch

    n = len(basis.U)
    squared = basis.S.square()
    shrink = squared / (squared + ridge * squared.sum() / n)
    errors = torch.eye(n, dtype=basis.U.dtype, device=basis.U.device) - (basis.U * shrink) @ basis.U.T - 1 / n
    return errors / errors.diagonal()[:, None]


def _basis(layer: torch.Tensor) -> Basis:
    """``Basis`` of a layer [n, d], in float64, from the eigenvectors of the smaller of XX' and X'X."""
    import torch

    X = layer.double()
    wide = X.shape[1] >= X.shape[0]
    values, vectors = torch.linalg.eigh(X @ X.T if wide else X.T @ X)
    S, vectors = values.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
    rank = int((S / S[0] > _rounding(X)).sum())
    S, vectors = S[:rank], vectors[:, :rank]
    return Basis(vectors if wide else X @ vectors / S, S)


def _rounding(matrix: torch.Tensor) -> float:
    """Share of the largest singular value below which others are float32 rounding error (NumPy's rule for the rank)."""
    return max(matrix.shape) * float(np.finfo(np.float32).eps)


def _leading(basis: Basis, variance: float) -> Basis:
    share = basis.S.square().cumsum(0) / basis.S.square().sum()
    return _first(basis, int((share < variance - 1e-12).sum()) + 1)


def _first(basis: Basis, count: int) -> Basis:
    """The ``count`` leading components and all as large as the last: the basis of equal ones is arbitrary."""
    last = basis.S[min(count, len(basis.S)) - 1]
    count = int((last * (1 - EQUAL) < basis.S).sum())
    return Basis(basis.U[:, :count], basis.S[:count])


def _weights(projections: torch.Tensor, correlations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight [groups] of each group of equal correlations, group [r] of each correlation).

    ``projections`` [r, d]: the features of x along each canonical direction. ``correlations`` [r], descending. The
    weight of one direction is the sum of its absolute projections. The directions of m equal correlations are an
    arbitrary basis of a subspace; averaged over random bases, their total weight is m c_m times the sum over features
    of the length of their projection into the subspace, where c_m is the mean absolute coordinate of a random unit
    vector.
    """
    import torch

    steps = correlations[:-1] - correlations[1:] > EQUAL
    group = torch.nn.functional.pad(steps.cumsum(0), (1, 0))
    sizes = group.bincount()
    squares = torch.zeros((len(sizes), projections.shape[1]), dtype=projections.dtype, device=projections.device)
    lengths = squares.index_add(0, group, projections.square()).sqrt().sum(dim=1)
    m = sizes.to(projections.dtype)
    return m * torch.exp(torch.lgamma(m / 2) - torch.lgamma((m + 1) / 2)) / torch.pi**0.5 * lengths, group


def _singular_values(matrix: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.linalg.svdvals(matrix).clamp(max=1)


def _pairwise(a: Sequence[Any], b: Sequence[Any], score: Callable[[Any, Any], Any]) -> np.ndarray:
    return np.array([[float(score(p, q)) for q in b] for p in a])
