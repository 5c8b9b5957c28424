r"""Metrics on similarity matrices: do two models agree about how alike every two samples are?

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

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from prh.core.metrics.base import Representation, metric, movable, variant
from prh.core.metrics.knn import Columns, columns, products
from prh.core.neighbour_lists import tiled

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
        return _cosines(x.state(linear_kernels), y.state(linear_kernels))
    if kernel != "rbf":
        raise ValueError(f"kernel is {kernel!r}; it must be 'linear' or 'rbf'.")
    if not sigma > 0:
        raise ValueError(f"sigma is {sigma}; the width of the kernel must be positive.")
    return _cosines(x.state(rbf_kernels, sigma), y.state(rbf_kernels, sigma))


variant("cka_rbf", cka, kernel="rbf", summary="centred kernel alignment, Gaussian kernel", symmetric=True, bounded=True)


@metric(summary="linear CKA with the unbiased HSIC", needs="features", symmetric=True, bounded=True)
def unbiased_cka(x: Representation, y: Representation) -> np.ndarray:
    """CKA with the unbiased estimate of HSIC: about 0 for unrelated representations, and slightly negative at times.

    Two arrays [n, d], rows paired, n >= 4. Returns a float in [-1, 1].
    Source: Song et al. (2012), "Feature Selection via Dependence Maximization", eq. 5. Here as the product of U-centred
    kernels (Székely and Rizzo 2014), the same number without the cancellation.
    """
    _require_four(x)
    if _by_features(x, y):
        return _hsic_from_features(x, y, unbiased=True)
    return _cosines(x.state(u_centred_kernels), y.state(u_centred_kernels))


@metric(summary="another name of unbiased_cka", needs="features", symmetric=True, bounded=True)
def debiased_cka(x: Representation, y: Representation) -> np.ndarray:
    """The same number as ``unbiased_cka``, under the name that Kornblith et al. (2019) and Murphy et al. (2024) use."""
    return unbiased_cka.__wrapped__(x, y)


@metric(summary="CKA over shared nearest neighbours, centred", needs="both", symmetric=True, bounded=True)
def cknna(
    x: Representation,
    y: Representation,
    k: int = 10,
    definition: Literal["centred", "paper", "official"] = "centred",
) -> np.ndarray:
    """CKA restricted to pairs (i, j) where j is among the k nearest neighbours of i in both representations.

    Two arrays [n, d], rows paired, 4 <= n, ``k`` < n. Returns a float; three definitions that differ in centring:

    - "centred": kernels are U-centred, then masked. In [-1, 1]; equal to ``unbiased_cka`` at k = n - 1.
    - "paper": features are centred, then kernels masked. In [-1, 1]. Source: Huh et al. (2024), eqs. 16-18.
    - "official": raw kernels are masked, then the unbiased HSIC of the masked kernels taken, as the authors' code does,
      its 1e-6 in the denominator included. Not symmetric, since the mask is not; exceeds 1 for k near n.
    """
    _require_four(x)
    if definition == "official":
        return _cknna_official(x, y, k)
    if definition not in ("centred", "paper"):
        raise ValueError(f"definition is {definition!r}; it must be 'centred', 'paper' or 'official'.")
    return products(
        x.state(kernel_columns, k, definition), y.knn(k), y.n, y.state(unit_neighbour_kernels, k, definition)
    )


variant(
    "cknna_paper",
    cknna,
    definition="paper",
    summary="CKNNA as in the paper: centred features, masked kernels",
    symmetric=True,
    bounded=True,
)
variant(
    "cknna_official",
    cknna,
    definition="official",
    summary="CKNNA as in the official code: unbiased HSIC of masked raw kernels",
    symmetric=False,
    bounded=False,
)


@metric(summary="Spearman correlation of dissimilarities", needs="features", symmetric=True, bounded=True)
def rsa(x: Representation, y: Representation, compare: Literal["spearman", "pearson"] = "spearman") -> np.ndarray:
    """Representational similarity analysis: correlation of the two models' dissimilarities of all pairs of samples.

    Two arrays [n, d], rows paired, n >= 3, d >= 2. Dissimilarity is 1 - the Pearson correlation of two samples'
    features (so it depends on the axes: not invariant to rotation). ``compare``: "spearman" (of ranks, the mean rank
    for ties) or "pearson". Returns a float in [-1, 1]. Source: Kriegeskorte, Mur and Bandettini (2008),
    "Representational similarity analysis".
    """
    if compare not in ("spearman", "pearson"):
        raise ValueError(f"compare is {compare!r}; it must be 'spearman' or 'pearson'.")
    if x.n < 3:
        raise ValueError(f"{x.name} has {x.n} samples; rsa correlates the dissimilarities of at least 3.")
    return _cosines(x.state(dissimilarities, compare), y.state(dissimilarities, compare))


variant("rsa_pearson", rsa, compare="pearson", summary="Pearson correlation of dissimilarities", symmetric=True,
bounded=True)  # fmt: skip


# States of one representation ----------------------------------------------------------------------------------------


def centred(x: Representation) -> Iterator[torch.Tensor]:
    """Layers with their column means taken off: float32 [n, d_l]. Cheap, and as large as the layers: not kept."""
    return (layer - layer.double().mean(dim=0).float() for layer in x.layers)


@movable(lambda layers, order: [layer[order] for layer in layers])
def unit_layers(x: Representation) -> list[torch.Tensor]:
    """Centred layers of unit Frobenius norm, float32 [n, d_l]: as large as the layers, and used for every pair."""
    return [layer / layer.norm() for layer in centred(x)]


@movable(lambda products, _order: products)
def self_products(x: Representation, unbiased: bool) -> np.ndarray:
    """HSIC of each layer with itself, float64 [L]; the order of samples is nothing to it."""
    return np.array([_hsic(layer, layer, unbiased) for layer in x.state(unit_layers)])


def move_packed(packed: torch.Tensor, order: np.ndarray) -> torch.Tensor:
    """Packed matrices [L, n (n + 1) / 2] after rows and columns are put into another order."""
    import torch

    i, j = (order[axis] for axis in np.triu_indices(len(order)))
    low, high = np.minimum(i, j), np.maximum(i, j)
    places = torch.as_tensor(low * len(order) - low * (low - 1) // 2 + high - low, device=packed.device)
    return packed.index_select(1, places)


@movable(move_packed)
def linear_kernels(x: Representation) -> torch.Tensor:
    """Centred linear kernels, packed, of unit norm: float32 [L, n (n + 1) / 2]."""
    return _unit(packed(x, (layer @ layer.T for layer in centred(x))))


@movable(move_packed)
def u_centred_kernels(x: Representation) -> torch.Tensor:
    """U-centred linear kernels (no diagonal, rows that sum to 0), packed, of unit norm: float32 [L, n (n + 1) / 2]."""
    return _unit(packed(x, (_u_centre(layer).fill_diagonal_(0) for layer in centred(x))))


@movable(move_packed)
def rbf_kernels(x: Representation, sigma: float) -> torch.Tensor:
    """Centred Gaussian kernels, packed, of unit norm: float32 [L, n (n + 1) / 2]."""

    def kernel(layer: torch.Tensor) -> torch.Tensor:
        squared = layer.square().sum(dim=1)
        distances = (squared[:, None] + squared - 2 * layer @ layer.T).clamp(min=0).fill_diagonal_(0)
        K = (distances / (-2 * sigma**2)).expm1()  # centring takes any constant off; expm1 keeps the digits near 1
        means = K.mean(dim=0)
        return K - means - means[:, None] + means.mean()

    return _unit(packed(x, (kernel(layer) for layer in centred(x))))  # centring keeps distances, and their digits


@movable(move_packed)
def dissimilarities(x: Representation, compare: str) -> torch.Tensor:
    """Correlation distances of all pairs of samples, or their ranks, centred, packed: float32 [L, n (n + 1) / 2]."""
    import torch
    from scipy.stats import rankdata

    i, j = torch.triu_indices(x.n, x.n, 1, device=x.device)

    def standardised(number: int, layer: torch.Tensor) -> torch.Tensor:
        constant = (layer == layer[:, :1]).all(dim=1)
        if bool(constant.any()):
            raise ValueError(
                f"{x.name}, layer {number}: row {int(constant.nonzero()[0])} is constant, so its correlation "
                "with others is not a number; leave the layer or the sample out, or take another metric than rsa."
            )
        layer = layer.double()
        layer = layer - layer.mean(dim=1, keepdim=True)
        norms = layer.norm(dim=1, keepdim=True)
        correlations = (layer / norms) @ (layer / norms).T
        values = 1 - correlations[i, j].round(decimals=7)  # what rounding made different is a tie again
        if compare == "spearman":
            values = torch.as_tensor(rankdata(values.cpu().numpy()), device=x.device)
        matrix = torch.zeros_like(correlations)
        matrix[i, j] = values - values.mean()
        return matrix

    return _unit(packed(x, (standardised(*numbered) for numbered in enumerate(x.layers))))


@movable(lambda values, order: values[:, order])
def neighbour_kernels(x: Representation, k: int, centring: str) -> np.ndarray:
    """Kernel values at the k nearest neighbours: float64 [L, n, k]; ``centring`` as the ``definition`` of ``cknna``."""
    import torch

    values = np.empty((len(x), x.n, k))
    step = max(1, int(x.memory_gb * 2**30 / 16 / x.n))
    layers = x.layers if centring == "official" else centred(x)
    for i, (layer, table) in enumerate(zip(layers, x.knn(k), strict=True)):
        for rows in tiled(x.n, step):
            K = _u_centre(layer, rows) if centring == "centred" else layer[rows] @ layer.T
            values[i, rows] = (
                K.gather(1, torch.as_tensor(table[rows], dtype=torch.int64, device=K.device)).cpu().numpy()
            )
    return values


@movable(lambda values, order: values[:, order])
def unit_neighbour_kernels(x: Representation, k: int, centring: str) -> np.ndarray:
    """``neighbour_kernels`` divided by the norm of each layer: float64 [L, n, k]."""
    values = x.state(neighbour_kernels, k, centring)
    with np.errstate(invalid="ignore"):
        return values / np.sqrt(np.square(values).sum(axis=(1, 2), keepdims=True))


def kernel_columns(x: Representation, k: int, centring: str) -> list[Columns]:
    """The same laid out for products with any y."""
    return columns(x.knn(k), x.n, x.state(unit_neighbour_kernels, k, centring))


# All layer pairs -----------------------------------------------------------------------------------------------------


def _cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Products of unit rows: float64 [L_x, L_y]."""
    return packed_products(a, b).clip(-1, 1)  # beyond 1 by rounding


def packed_products(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Products of rows in float32, summed up in float64: a sum of 10^6 small terms loses digits in float32."""
    run = 2**13
    parts = zip(a.split(run, dim=1), b.split(run, dim=1), strict=True)
    return sum((p @ q.T).double() for p, q in parts).cpu().numpy()


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


def _hsic(a: torch.Tensor, b: torch.Tensor, unbiased: bool) -> float:
    n, product = len(a), float((a.T @ b).double().square().sum())
    if not unbiased:
        return product
    p, q = a.double().square().sum(dim=1), b.double().square().sum(dim=1)
    return product - n / (n - 2) * float(p @ q) + float(p.sum() * q.sum()) / ((n - 1) * (n - 2))


def _u_centre(layer: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
    """Rows of the U-centred kernel of centred features (its diagonal is not set to 0): float32 [rows, n].

    U-centring takes the row means of the kernel without its diagonal off, all over n - 2. Rows of the centred kernel
    sum to 0 with the diagonal, so without it to minus the squared norm of the sample.
    """
    n, squared = len(layer), layer.square().sum(dim=1)
    return layer[rows] @ layer.T + (squared[rows, None] + squared) / (n - 2) - squared.sum() / ((n - 1) * (n - 2))


def packed(x: Representation, matrices: Iterator[torch.Tensor]) -> torch.Tensor:
    """Stack symmetric matrices [n, n] as rows: the upper triangle, entries off the diagonal times sqrt(2).

    Returns float32 [L, n (n + 1) / 2]; the product of two rows is the Frobenius product of their matrices.
    """
    import torch

    if packed_gb(x) > x.memory_gb:
        raise ValueError(
            f"{x.name}: {len(x)} matrices of {x.n} x {x.n} take {packed_gb(x):.1f} GB, more than "
            f"memory_gb = {x.memory_gb}; raise it, or compare fewer samples."
        )
    i, j = torch.triu_indices(x.n, x.n, device=x.device)
    weights = torch.where(i == j, 1.0, 2**0.5)
    rows = torch.empty((len(x), len(i)), device=x.device)
    for row, matrix in zip(rows, matrices, strict=True):
        row[:] = matrix[i, j] * weights
    return rows


def packed_diagonal(n: int) -> np.ndarray:
    """Places of the diagonal of an n x n matrix in its packed row."""
    i = np.arange(n)
    return i * n - i * (i - 1) // 2


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows divided, in place, by their norms; a row of zeros becomes NaN, which ``prh.core.alignment.scores``
    reports.
    """
    for row in rows:
        row /= row.double().norm()
    return rows


def packed_gb(x: Representation) -> float:
    """GB of one packed matrix for each layer of x."""
    return len(x) * x.n * (x.n + 1) / 2 * 4 / 2**30


def _cknna_official(x: Representation, y: Representation, k: int) -> np.ndarray:
    """The official code's CKNNA: float64 [L_x, L_y]."""
    if x.n**2 * 8 / 2**30 > x.memory_gb:
        raise ValueError(f"cknna_official holds {x.n} x {x.n} kernels, more than memory_gb = {x.memory_gb}; raise it.")
    sides = [(side.knn(k), side.state(neighbour_kernels, k, "official")) for side in (x, y)]
    (lists_x, values_x), (lists_y, values_y) = sides
    cross = np.stack([_masked_hsic(one, v, lists_y, values_y) for one, v in zip(lists_x, values_x, strict=True)])
    self_x, self_y = (
        np.array([_masked_hsic(one, v, one[None], v[None])[0] for one, v in zip(*side, strict=True)]) for side in sides
    )
    with np.errstate(invalid="ignore"):
        return cross / (np.sqrt(np.outer(self_x, self_y)) + 1e-6)


def _masked_hsic(list_x: np.ndarray, values_x: np.ndarray, lists_y: np.ndarray, values_y: np.ndarray) -> np.ndarray:
    """Unbiased HSIC of the kernels A of a layer of x and B of each layer of y, both masked to shared neighbours.

    Song et al.'s estimate needs <A, B'>, the sums of A and of B, and 1'AB1. The mask keeps few entries, so A and B are
    only looked at where j is a neighbour of i in y: [L_y, n, k]. ``list_x``, ``values_x`` are [n, k]. Returns [L_y].
    """
    layers, n, _ = lists_y.shape
    i = np.arange(n)[:, None]
    A, in_y = np.zeros((n, n)), np.zeros((n, n), bool)
    A[i, list_x] = values_x
    in_x = np.zeros((n, n), bool)
    in_x[i, list_x] = True
    a, b = A[i, lists_y], in_x[i, lists_y] * values_y
    product = np.empty(layers)
    for layer, (lists, back) in enumerate(zip(lists_y, A[lists_y, i], strict=True)):
        in_y[i, lists] = True
        product[layer] = (b[layer] * back * in_y[lists, i]).sum()
        in_y[i, lists] = False
    columns = (lists_y + np.arange(layers)[:, None, None] * n).ravel()
    column_sums = np.bincount(columns, a.ravel(), layers * n).reshape(layers, n)
    total = a.sum(axis=(1, 2)) * b.sum(axis=(1, 2)) / ((n - 1) * (n - 2))
    return (product + total - 2 * (column_sums * b.sum(axis=2)).sum(axis=1) / (n - 2)) / (n * (n - 3))


def _require_four(x: Representation) -> None:
    if x.n < 4:
        raise ValueError(f"{x.name} has {x.n} samples; the unbiased HSIC needs at least 4.")
