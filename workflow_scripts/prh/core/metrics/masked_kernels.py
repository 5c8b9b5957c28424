"""CKA over shared nearest neighbours: do two models agree on how similar nearby samples are?"""

from __future__ import annotations

from typing import Literal

import numpy as np

from prh.core.metrics.base import Representation, metric, movable, variant
from prh.core.metrics.kernels import kernel_rows, require_four
from prh.core.metrics.neighbour_planes import Columns, columns, products
from prh.core.neighbour_lists import tiled


@metric(summary="CKA over shared nearest neighbours, centred", needs="both", symmetric=True, bounded=True)
def cknna(
    x: Representation,
    y: Representation,
    k: int = 10,
    definition: Literal["centred", "paper", "official"] = "centred",
) -> np.ndarray:
    """CKA restricted to pairs (i, j) where j is among the k nearest neighbours of i in both representations.

    Parameters
    ----------
    x, y : floating [n, d], or Representation
        Rows are the same samples; n >= 4.
    k : int
        Number of neighbours, from 1 to n - 1.
    definition : {"centred", "paper", "official"}
        The definitions differ in centring.

        - "centred": U-centre the kernels, then mask them. Equal to ``unbiased_cka`` at k = n - 1.
        - "paper": centre the features, then mask the kernels; eqs. 16-18 of the paper.
        - "official": mask the raw kernels, then take their unbiased HSIC, as the authors' code does, including its 1e-6
          in the denominator. Not symmetric, because the mask is not.

    Returns
    -------
    float, or float64 [L_x, L_y]
        In [-1, 1]; "official" exceeds 1 for k near n.

    Raises
    ------
    ValueError
        For fewer than 4 samples, k outside 1 to n - 1, an unknown ``definition``, or "official" kernels that exceed the
        memory.

    References
    ----------
    Huh, Cheung, Wang and Isola (2024), "The Platonic Representation Hypothesis", appendix A.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(cknna(x, x, k=5), 6)
    1.0
    """
    require_four(x)
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


@movable(lambda values, order: values[:, order])
def neighbour_kernels(x: Representation, k: int, centring: str) -> np.ndarray:
    """Kernel values at the k nearest neighbours: float64 [L, n, k]; ``centring`` as the ``definition`` of ``cknna``."""
    import torch

    values = np.empty((len(x), x.n, k))
    step = max(1, int(x.memory_gb * 2**30 / 16 / x.n))
    for i, (rows_of, table) in enumerate(zip(kernel_rows(x, centring), x.knn(k), strict=True)):
        for rows in tiled(x.n, step):
            K = rows_of(rows)
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
    """``unit_neighbour_kernels``, laid out for products with any y."""
    return columns(x.knn(k), x.n, x.state(unit_neighbour_kernels, k, centring))


def _cknna_official(x: Representation, y: Representation, k: int) -> np.ndarray:
    """CKNNA as the official code computes it: float64 [L_x, L_y]."""
    if x.n**2 * 8 / 2**30 > x.memory_gb:
        raise ValueError(
            f"cknna_official needs {x.n} x {x.n} kernels, which exceed memory_gb = {x.memory_gb}; raise it."
        )
    sides = [(side.knn(k), side.state(neighbour_kernels, k, "official")) for side in (x, y)]
    (lists_x, values_x), (lists_y, values_y) = sides
    cross = np.stack([_masked_hsic(knn, v, lists_y, values_y) for knn, v in zip(lists_x, values_x, strict=True)])
    self_x, self_y = (
        np.array([_masked_hsic(knn, v, knn[None], v[None])[0] for knn, v in zip(*side, strict=True)]) for side in sides
    )
    with np.errstate(invalid="ignore"):
        return cross / (np.sqrt(np.outer(self_x, self_y)) + 1e-6)


def _masked_hsic(list_x: np.ndarray, values_x: np.ndarray, lists_y: np.ndarray, values_y: np.ndarray) -> np.ndarray:
    """Unbiased HSIC of the kernels A of a layer of x and B of each layer of y, both masked to shared neighbours.

    The estimate of Song et al. (2012) needs <A, B'>, the sums of A and of B, and 1'AB1. The mask keeps few entries, so
    A and B are only read where j is a neighbour of i in y: [L_y, n, k]. ``list_x``, ``values_x`` are [n, k]. Returns
    [L_y].
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
