r"""Metrics on the features themselves, up to a linear map: can one model's features be turned into the other's?

Every layer is decomposed once, X = U S V', in float64; what is left for a pair is a product of two bases and the
singular values of that small matrix. Singular values below the rounding of the float32 features are taken as 0, so
the numbers do not depend on directions that hold nothing but rounding. Nor do they depend on the basis in which the
decomposition happens to return a subspace of equal values, which changes with the order of the samples.
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


EQUAL = 1e-7  # singular values and correlations, all in float64, that differ by less are equal
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # of linear_regression, relative to the mean squared norm of a sample


class Basis(NamedTuple):
    """X = U S V' of one layer: U [n, r] orthonormal, singular values S [r] in falling order, r the numerical rank."""

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
    """Singular vector CCA: the mean canonical correlation of the ``dims`` leading components of standardised columns.

    Two arrays [n, d], rows paired, n > ``dims``. Where a layer's rank is lower, all its components are taken and the
    mean is over the smaller number; where the next components are as large as the last, these are taken too. Returns a
    float in [0, 1]. Source: Raghu et al. (2017), "SVCCA". The official code of Huh et al. takes a randomised SVD, which
    changes from run to run; here it is exact.
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
    """Projection-weighted CCA: canonical correlations, weighted by how much of x's features their directions carry.

    Two arrays [n, d], rows paired. Both sides are first cut to the components that hold ``variance`` of their variance
    (1 keeps all; with n samples or more dimensions than samples, all correlations are then 1 and mean nothing).
    Returns a float in [0, 1]. Not symmetric: the weights are x's.
    Source: Morcos, Raghu and Bengio (2018), "Insights on representational similarity in neural networks".

    Where both sides together keep more than n - 1 components, correlations of 1 repeat, and their directions are any
    basis of a subspace. The weight of that subspace is its mean over all bases, see ``_weights``.
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

    Two arrays [n, d], rows paired. Returns a float in [0, 1]; the squared Procrustes distance is 2 - 2 times it.
    Source: Schönemann (1966); Ding, Denain and Steinhardt (2021), "Grounding Representation Similarity".
    """
    a, b = ([basis.U * (basis.S / basis.S.norm()) for basis in side.state(bases)] for side in (x, y))
    return _pairwise(a, b, lambda p, q: _singular_values(p.T @ q).sum())


@metric(summary="cross-validated R2 of predicting y from x", needs="features", symmetric=False, bounded=True)
def linear_regression(x: Representation, y: Representation, ridge: float | None = None) -> np.ndarray:
    """Share of the variance of y's features that a linear map of x's predicts, on samples it was not fitted to.

    Two arrays [n, d], rows paired, n >= 3. Each sample is predicted by the ridge regression on all others, so there are
    no folds whose choice, or the order of the samples, could change the score. ``ridge`` is the penalty relative to the
    mean squared norm of x's centred samples; None takes, for each pair of layers, the best of ``PENALTIES``. With any
    one penalty the score can be far below 0 where n is near x's width; the best of them is not, as large penalties come
    to predict the mean. Returns a float, at most 1, negative if worse than the mean. Not symmetric.
    Source: Kornblith et al. (2019), section 3.4 (there without cross-validation); Allen (1974), "The relationship
    between variable selection and data augmentation and a method for prediction", for the closed form.

    Fitted values are H Y for a matrix H of x alone, and sample i predicted without itself errs by the error of the fit
    over 1 - H_ii. So with E = (I - H) / (1 - diag H), R2 = 1 - <E'E, YY'> / trace(YY'), one product for all layers of
    both sides.
    """
    if x.n < 3:
        raise ValueError(f"{x.name} has {x.n} samples; to predict one from the others takes at least 3.")
    if ridge is not None and not ridge > 0:
        raise ValueError(f"ridge is {ridge}; a penalty must be positive.")
    kernels = y.state(linear_kernels)
    traces = kernels[:, packed_diagonal(x.n)].double().sum(dim=1).cpu().numpy()
    penalties = PENALTIES if ridge is None else (ridge,)
    kept = len(penalties) * packed_gb(x) <= x.memory_gb  # else one penalty at a time, built again for the next y
    errors = [
        packed_products(x.state(residual_forms, penalty) if kept else residual_forms(x, penalty), kernels)
        for penalty in penalties
    ]
    return 1 - np.min(errors, axis=0) / traces


# States of one representation ----------------------------------------------------------------------------------------


@movable(lambda bases, order: [Basis(basis.U[order], basis.S) for basis in bases])
def bases(x: Representation) -> list[Basis]:
    """Bases of the centred layers."""
    return [_basis(layer) for layer in centred(x)]


@movable(lambda bases, order: [Basis(basis.U[order], basis.S) for basis in bases])
def leading_bases(x: Representation, variance: float) -> list[Basis]:
    """Bases of the centred layers, cut to the components that hold ``variance`` of their variance."""
    return [_leading(basis, variance) for basis in x.state(bases)]


@movable(lambda loadings, _order: loadings)
def leading_loadings(x: Representation, variance: float) -> list[torch.Tensor]:
    """U'X of each layer, [r, d_l]: how its leading components are spread over its features."""
    return [
        basis.U.T @ layer.double() for basis, layer in zip(x.state(leading_bases, variance), centred(x), strict=True)
    ]


@movable(lambda bases, order: [Basis(basis.U[order], basis.S) for basis in bases])
def standardised_bases(x: Representation, dims: int) -> list[Basis]:
    """The ``dims`` leading components of layers with columns of mean 0 and variance 1 (constant columns: 0)."""

    def standardise(layer: torch.Tensor) -> torch.Tensor:
        deviation = layer.double().std(dim=0)
        return (layer / deviation.clamp(min=1e-8)).float()

    return [_first(_basis(standardise(layer)), dims) for layer in centred(x)]


@movable(move_packed)
def residual_forms(x: Representation, ridge: float) -> torch.Tensor:
    """E'E for each layer, packed like the kernels: float32 [L, n (n + 1) / 2]. E: see ``linear_regression``."""

    def form(basis: Basis) -> torch.Tensor:
        errors = leave_one_out_errors(basis, ridge).float()
        return errors.T @ errors

    return packed(x, (form(basis) for basis in x.state(bases)))


def leave_one_out_errors(basis: Basis, ridge: float) -> torch.Tensor:
    """E [n, n]: row i of E Y is sample i less its prediction from all others, by ridge regression with intercept."""
    import torch

    n = len(basis.U)
    squared = basis.S.square()
    shrink = squared / (squared + ridge * squared.sum() / n)
    errors = torch.eye(n, dtype=basis.U.dtype, device=basis.U.device) - (basis.U * shrink) @ basis.U.T - 1 / n
    return errors / errors.diagonal()[:, None]


def _basis(layer: torch.Tensor) -> Basis:
    """Singular vectors and values of a layer [n, d], by the eigenvectors of the smaller of XX' and X'X, in float64."""
    import torch

    X = layer.double()
    wide = X.shape[1] >= X.shape[0]
    values, vectors = torch.linalg.eigh(X @ X.T if wide else X.T @ X)
    S, vectors = values.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
    rank = int((S / S[0] > _rounding(X)).sum())
    S, vectors = S[:rank], vectors[:, :rank]
    return Basis(vectors if wide else X @ vectors / S, S)


def _rounding(matrix: torch.Tensor) -> float:
    """Singular values below this share of the largest are rounding of float32 features (NumPy's rule for the rank)."""
    return max(matrix.shape) * float(np.finfo(np.float32).eps)


def _leading(basis: Basis, variance: float) -> Basis:
    share = basis.S.square().cumsum(0) / basis.S.square().sum()
    return _first(basis, int((share < variance - 1e-12).sum()) + 1)


def _first(basis: Basis, count: int) -> Basis:
    """The ``count`` leading components, and those as large as the last: any basis of equal ones is as good."""
    last = basis.S[min(count, len(basis.S)) - 1]
    count = int((last * (1 - EQUAL) < basis.S).sum())
    return Basis(basis.U[:, :count], basis.S[:count])


def _weights(projections: torch.Tensor, correlations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight [groups] of equal correlations, group [r] of each correlation).

    ``projections`` [r, d]: x's features along each canonical direction, ``correlations`` [r] in falling order. The
    weight of one direction is the sum of its absolute projections. For m equal correlations these directions are an
    arbitrary basis; the mean of the sum over all bases, turned at random, is m c_m times the sum over features of the
    length of their projection into the subspace, where c_m is the mean size of a coordinate of a random unit vector.
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
