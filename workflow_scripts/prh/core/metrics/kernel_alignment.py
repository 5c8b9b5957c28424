r"""Centred kernel alignment: do two models agree about how alike every two samples are?

Each layer becomes one row: its n x n matrix, centred as the metric wants it, divided by its norm and packed (the upper
triangle; entries off the diagonal times the square root of 2, so that the product of two rows is the Frobenius
product of the matrices). All layer pairs are then one matrix product. Where n is so large that the matrices do not
fit, or much larger than the widths, linear CKA is taken from the features instead: <XX', YY'> = \|X'Y\|^2, which
never forms them.

The official code adds 1e-6 to the denominators of CKA, so that a kernel of zeros gives 0. It is left out here (scores
do not depend on the scale of the features, and a constant layer is an error) but for
``cknna(definition="official")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from prh.core.metrics.base import Representation, metric, movable, variant
from prh.core.metrics.kernels import linear_kernels, rbf_kernels, require_four, u_centred_kernels, unit_layers
from prh.core.metrics.packed_matrices import cosines, packed_gb

if TYPE_CHECKING:
    import torch


@metric(summary="centred kernel alignment, linear kernel", needs="features", symmetric=True, bounded=True)
def cka(
    x: Representation, y: Representation, kernel: Literal["linear", "rbf"] = "linear", sigma: float = 1.0
) -> np.ndarray:
    """Centred kernel alignment: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), HSIC(K, L) = trace(K H L H).

    Two arrays [n, d], rows paired. ``kernel``: "linear", x x', or "rbf", exp(-distance^2 / (2 ``sigma``^2)).
    Returns a float in [0, 1]; biased: unrelated representations score well above 0 where n is not much larger than d.
    Source: Cortes et al. (2012); Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited".
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
    summary="linear CKA with the unbiased HSIC", needs="features", symmetric=True, bounded=True, chance=lambda k, n: 0.0
)
def unbiased_cka(x: Representation, y: Representation) -> np.ndarray:
    """CKA with the unbiased estimate of HSIC: about 0 for unrelated representations, and slightly negative at times.

    Two arrays [n, d], rows paired, n >= 4. Returns a float in [-1, 1].
    Source: Song et al. (2012), "Feature Selection via Dependence Maximization", eq. 5. Here as the product of U-centred
    kernels (Székely and Rizzo 2014), the same number without the cancellation.
    """
    require_four(x)
    if _by_features(x, y):
        return _hsic_from_features(x, y, unbiased=True)
    return cosines(x.state(u_centred_kernels), y.state(u_centred_kernels))


@metric(summary="another name of unbiased_cka", needs="features", symmetric=True, bounded=True, chance=lambda k, n: 0.0)
def debiased_cka(x: Representation, y: Representation) -> np.ndarray:
    """The same number as ``unbiased_cka``, under the name that Kornblith et al. (2019) and Murphy et al. (2024) use."""
    return unbiased_cka.__wrapped__(x, y)


def _by_features(x: Representation, y: Representation) -> bool:
    """Whether X'Y costs less than <K, L> for these layers, or the kernels would not fit into the memory."""
    widths = [sum(layer.shape[1] for layer in side.layers) / len(side) for side in (x, y)]
    return 2 * widths[0] * widths[1] < x.n or any(packed_gb(side) > side.memory_gb for side in (x, y))


def _hsic_from_features(x: Representation, y: Representation, unbiased: bool = False) -> np.ndarray:
    """CKA of all layer pairs from centred features, nothing n x n: one product of widths per layer pair.

    The terms that make it unbiased are those of Kornblith et al. (2019): they take the diagonals of the kernels out.
    """
    a, b = x.state(unit_layers), y.state(unit_layers)
    self_x, self_y = (side.state(self_products, unbiased) for side in (x, y))
    cross = np.array([[_hsic(p, q, unbiased) for q in b] for p in a])
    with np.errstate(invalid="ignore", divide="ignore"):
        return cross / np.sqrt(np.outer(self_x, self_y))


@movable(lambda products, _order: products)
def self_products(x: Representation, unbiased: bool) -> np.ndarray:
    """HSIC of each layer with itself, float64 [L]; the order of samples is nothing to it."""
    return np.array([_hsic(layer, layer, unbiased) for layer in x.state(unit_layers)])


def _hsic(a: torch.Tensor, b: torch.Tensor, unbiased: bool) -> float:
    n, product = len(a), float((a.T @ b).double().square().sum())
    if not unbiased:
        return product
    p, q = a.double().square().sum(dim=1), b.double().square().sum(dim=1)
    return product - n / (n - 2) * float(p @ q) + float(p.sum() * q.sum()) / ((n - 1) * (n - 2))
