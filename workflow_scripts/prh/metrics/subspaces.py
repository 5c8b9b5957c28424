r"""Metrics on the features themselves, up to a linear map: can one model's features be turned into the other's?

Every layer is decomposed once, X = U S V', in float64; what is left for a pair is a product of two bases and the
singular values of that small matrix. Singular values below the rounding of the float32 features are taken as 0, so
the numbers do not depend on directions that hold nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from prh.metrics.base import Representation, metric, movable
from prh.metrics.kernels import centred, linear_kernels, packed, packed_diagonal, packed_products

if TYPE_CHECKING:
    import torch


class Basis(NamedTuple):
    """X = U S V' of one layer: U [n, r] orthonormal, singular values S [r] in falling order, r the numerical rank."""

    U: torch.Tensor
    S: torch.Tensor


@metric(summary="mean canonical correlation of 10 components", needs="features", symmetric=True, bounded=True)
def svcca(x: Representation, y: Representation, dims: int = 10) -> np.ndarray:
    """Singular vector CCA: the mean canonical correlation of the ``dims`` leading components of standardised columns.

    Two arrays [n, d], rows paired, n > ``dims``. Where a layer's rank is lower, all its components are taken and the
    mean is over the smaller number. Returns a float in [0, 1]. Source: Raghu et al. (2017), "SVCCA". The official
    code of Huh et al. takes a randomised SVD, which changes from run to run; here it is exact.
    """
    if not 1 <= dims < x.n:
        raise ValueError(f"dims is {dims}; with {x.n} samples it must be from 1 to {x.n - 1}.")
    a, b = ([basis.U[:, :dims] for basis in side.state(standardised_bases, dims)] for side in (x, y))
    return _pairwise(a, b, lambda p, q: _singular_values(p.T @ q).sum() / min(p.shape[1], q.shape[1]))


@metric(summary="canonical correlations weighted by their share of x", needs="features", symmetric=False, bounded=True)
def pwcca(x: Representation, y: Representation, variance: float = 0.99) -> np.ndarray:
    """Projection-weighted CCA: canonical correlations, weighted by how much of x's features their directions carry.

    Two arrays [n, d], rows paired. Both sides are first cut to the components that hold ``variance`` of their variance
    (1 keeps all; with n samples or more dimensions than samples, all correlations are then 1 and mean nothing).
    Returns a float in [0, 1]. Not symmetric: the weights are x's.
    Source: Morcos, Raghu and Bengio (2018), "Insights on representational similarity in neural networks".
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance is {variance}; it must be a share in (0, 1].")
    a, b = (side.state(leading_bases, variance) for side in (x, y))
    loadings = x.state(leading_loadings, variance)

    def score(p: tuple[Basis, torch.Tensor], q: Basis) -> float:
        import torch

        basis, loading = p
        directions, correlations, _ = torch.linalg.svd(basis.U.T @ q.U, full_matrices=False)
        weights = (directions.T @ loading).abs().sum(dim=1)
        return (weights * correlations.clamp(max=1)).sum() / weights.sum()

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
def linear_regression(x: Representation, y: Representation, folds: int = 5, ridge: float = 0.01) -> np.ndarray:
    """Share of the variance of y's features that a linear map of x's predicts, on samples it was not fitted to.

    Two arrays [n, d], rows paired, n >= 2 ``folds``. Sample i is predicted by the fit without the samples congruent
    to i modulo ``folds``. ``ridge`` is the penalty relative to the mean squared norm of x's centred samples; 0 is
    least squares (of least norm), which is wild where n is near x's width. Returns a float, at most 1, negative if
    worse than the mean. Not symmetric. Source: Kornblith et al. (2019), section 3.4 (there without cross-validation).

    Predictions are H Y for a matrix H of x alone. So R2 = 1 - <(I - H)'(I - H), YY'> / trace(YY'), one product for all
    layers of both sides.
    """
    if not 2 <= folds <= x.n // 2:
        raise ValueError(f"folds is {folds}; with {x.n} samples it must be from 2 to {x.n // 2}.")
    if ridge < 0:
        raise ValueError(f"ridge is {ridge}; a penalty must not be negative.")
    kernels = y.state(linear_kernels)
    traces = kernels[:, packed_diagonal(x.n)].double().sum(dim=1).cpu().numpy()
    return 1 - packed_products(x.state(residual_forms, folds, ridge), kernels) / traces


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

    return [Basis(U[:, :dims], S[:dims]) for U, S in (_basis(standardise(layer)) for layer in centred(x))]


def residual_forms(x: Representation, folds: int, ridge: float) -> torch.Tensor:
    """(I - H)'(I - H) for each layer, packed like the kernels: float32 [L, n (n + 1) / 2]."""
    import torch

    def form(layer: torch.Tensor) -> torch.Tensor:
        residual = torch.eye(x.n, dtype=torch.float64, device=x.device) - held_out(layer.double(), folds, ridge)
        return residual.T @ residual

    return packed(x, (form(layer) for layer in x.layers))


def held_out(layer: torch.Tensor, folds: int, ridge: float) -> torch.Tensor:
    """H [n, n]: row i predicts sample i from the samples outside its fold, intercept included."""
    import torch

    n = len(layer)
    fold = torch.arange(n, device=layer.device) % folds
    H = torch.zeros((n, n), dtype=layer.dtype, device=layer.device)
    for f in range(folds):
        train, test = (fold != f).nonzero()[:, 0], (fold == f).nonzero()[:, 0]
        mean = layer[train].mean(dim=0)
        fitted, new = layer[train] - mean, layer[test] - mean
        penalty = ridge * fitted.square().sum() / len(train)
        if len(train) <= layer.shape[1]:  # the cheaper of the two forms of the same map
            predict = new @ fitted.T @ _inverse(fitted @ fitted.T, penalty)
        else:
            predict = new @ _inverse(fitted.T @ fitted, penalty) @ fitted.T
        H[test[:, None], train] = predict + 1 / len(train)
    return H


def _inverse(gram: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
    """(gram + penalty I)^-1, or the pseudo-inverse where there is no penalty."""
    import torch

    if penalty > 0:
        return torch.cholesky_inverse(torch.linalg.cholesky(gram + penalty * torch.eye(len(gram), device=gram.device)))
    return torch.linalg.pinv(gram, hermitian=True, rtol=_rounding(gram) ** 2)


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
    count = min(int((share < variance - 1e-12).sum()) + 1, len(share))
    return Basis(basis.U[:, :count], basis.S[:count])


def _singular_values(matrix: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.linalg.svdvals(matrix).clamp(max=1)


def _pairwise(a: Sequence[Any], b: Sequence[Any], score: Callable[[Any, Any], Any]) -> np.ndarray:
    return np.array([[float(score(p, q)) for q in b] for p in a])
