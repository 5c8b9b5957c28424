r"""Centred kernel alignment: do two models agree on how similar each pair of samples is?

Each layer becomes one row: its n x n kernel, centred as the metric requires, divided by its norm and packed (the upper
triangle, with off-diagonal entries times the square root of 2, so that the product of two rows is the Frobenius product
of the matrices). All layer pairs are then a single matrix product. If the kernels do not fit into memory, or if n is
much larger than the widths, linear CKA is computed from the features, without kernels: <XX', YY'> = \|X'Y\|^2.

The official code adds 1e-6 to the denominators of CKA, so that a kernel of zeros scores 0. Here only
``cknna(definition="official")`` does so: without it scores do not depend on the scale of the features, and constant
layers are left out anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from prh.core.metrics.base import Representation, metric, movable, variant
from prh.core.metrics.kernels import linear_kernels, rbf_kernels, require_four, u_centred_kernels, unit_layers
from prh.core.metrics.packed_matrices import cosines, packed_gb

if TYPE_CHECKING:
    import torch


@metric(summary="centred kernel alignment, linear kernel", needs="kernel", symmetric=True, bounded=True)
def cka(
    x: Representation, y: Representation, kernel: Literal["linear", "rbf"] = "linear", sigma: float = 1.0
) -> np.ndarray:
    """Centred kernel alignment: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), where HSIC(K, L) = trace(K H L H).

    It is biased: unrelated representations score well above 0 unless n is much larger than d.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples.
    kernel : {"linear", "rbf"}
        "linear": x x'; "rbf": exp(-distance^2 / (2 ``sigma``^2)).
    sigma : float
        Width of the "rbf" kernel, positive.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [0, 1].

    Raises
    ------
    ValueError
        For an unknown ``kernel``, a ``sigma`` that is not positive, or "rbf" kernels that exceed the memory.

    References
    ----------
    Cortes, Mohri and Rostamizadeh (2012), "Algorithms for Learning Kernels Based on Centered Alignment"; Kornblith et
    al. (2019), "Similarity of Neural Network Representations Revisited".

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(cka(x, 2 * x), 6)
    1.0
    """
    if kernel == "linear":
        if _by_features(x, y):
            return _hsic_from_features(x, y)
        return cosines(x.state(linear_kernels), y.state(linear_kernels))
    if kernel != "rbf":
        raise ValueError(f"kernel is {kernel!r}; it must be 'linear' or 'rbf'.")
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}; the width of the kernel must be positive.")
    return cosines(x.state(rbf_kernels, sigma), y.state(rbf_kernels, sigma))


variant("cka_rbf", cka, kernel="rbf", summary="centred kernel alignment, Gaussian kernel", symmetric=True, bounded=True)


@metric(
    summary="linear CKA with the unbiased HSIC", needs="kernel", symmetric=True, bounded=True, chance=lambda k, n: 0.0
)
def unbiased_cka(x: Representation, y: Representation) -> np.ndarray:
    """Linear CKA with the unbiased estimate of HSIC.

    Computed as the product of U-centred kernels (Székely and Rizzo 2014), which equals the estimate of Song et al.
    (2012) but loses no digits to cancellation.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples; n >= 4.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [-1, 1]; about 0 for unrelated representations, sometimes slightly negative.

    Raises
    ------
    ValueError
        For fewer than 4 samples.

    References
    ----------
    Song et al. (2012), "Feature Selection via Dependence Maximization", eq. 5; Székely and Rizzo (2014), "Partial
    distance correlation with methods for dissimilarities".

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(unbiased_cka(x, 2 * x), 6)
    1.0
    """
    require_four(x)
    if _by_features(x, y):
        return _hsic_from_features(x, y, unbiased=True)
    return cosines(x.state(u_centred_kernels), y.state(u_centred_kernels))


@metric(summary="another name of unbiased_cka", needs="kernel", symmetric=True, bounded=True, chance=lambda k, n: 0.0)
def debiased_cka(x: Representation, y: Representation) -> np.ndarray:
    """The same as ``unbiased_cka``, under the name used by Kornblith et al. (2019) and Murphy et al. (2024).

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples; n >= 4.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [-1, 1]; about 0 for unrelated representations, sometimes slightly negative.

    Raises
    ------
    ValueError
        For fewer than 4 samples.

    References
    ----------
    Murphy et al. (2024), "Correcting Biased Centered Kernel Alignment Measures in Biological and Artificial Neural
    Networks".

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> debiased_cka(x, x**3) == unbiased_cka(x, x**3)
    True
    """
    return unbiased_cka.__wrapped__(x, y)


def _by_features(x: Representation, y: Representation) -> bool:
    """Whether X'Y is cheaper than <K, L> for these layers, or their kernels would not fit into memory.

    Where one side has kernels instead of features there is no choice.
    """
    if x.has_kernels or y.has_kernels:
        return False
    widths = [sum(layer.shape[1] for layer in side.layers) / len(side) for side in (x, y)]
    return 2 * widths[0] * widths[1] < x.n or any(packed_gb(side) > side.memory_gb for side in (x, y))


def _hsic_from_features(x: Representation, y: Representation, unbiased: bool = False) -> np.ndarray:
    """CKA of all layer pairs from centred features, one product [d_x, d_y] per layer pair and nothing n x n.

    The unbiased estimate subtracts the diagonals of the kernels as in Kornblith et al. (2019).
    """
    a, b = x.state(unit_layers), y.state(unit_layers)
    self_x, self_y = (side.state(self_products, unbiased) for side in (x, y))
    cross = np.array([[_hsic(p, q, unbiased) for q in b] for p in a])
    with np.errstate(invalid="ignore", divide="ignore"):
        return cross / np.sqrt(np.outer(self_x, self_y))


@movable(lambda products, _order: products)
def self_products(x: Representation, unbiased: bool) -> np.ndarray:
    """HSIC of each layer with itself: float64 [L]; does not depend on the order of the samples."""
    return np.array([_hsic(layer, layer, unbiased) for layer in x.state(unit_layers)])


def _hsic(a: torch.Tensor, b: torch.Tensor, unbiased: bool) -> float:
    n, product = len(a), float((a.T @ b).double().square().sum())
    if not unbiased:
        return product
    p, q = a.double().square().sum(dim=1), b.double().square().sum(dim=1)
    return product - n / (n - 2) * float(p @ q) + float(p.sum() * q.sum()) / ((n - 1) * (n - 2))
