"""Symmetric matrices packed into rows: the upper triangle, with off-diagonal entries times the square root of 2.

The product of two rows is the Frobenius product of their matrices, so that one matrix product covers all layer pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from prh.core.metrics.representation import Representation

if TYPE_CHECKING:
    import torch


def packed(x: Representation, matrices: Iterator[torch.Tensor]) -> torch.Tensor:
    """Pack one symmetric matrix [n, n] per layer of x into rows: float32 [L, n (n + 1) / 2].

    Raises ValueError if the rows exceed ``memory_gb``.
    """
    import torch

    if packed_gb(x) > x.memory_gb:
        raise ValueError(
            f"{x.name}: {len(x)} matrices of {x.n} x {x.n} need {packed_gb(x):.1f} GB, more than "
            f"memory_gb = {x.memory_gb}; raise it, or compare fewer samples."
        )
    i, j = torch.triu_indices(x.n, x.n, device=x.device)
    weights = torch.where(i == j, 1.0, 2**0.5)
    rows = torch.empty((len(x), len(i)), device=x.device)
    for row, matrix in zip(rows, matrices, strict=True):
        row[:] = matrix[i, j] * weights
    return rows


def move_packed(packed: torch.Tensor, order: np.ndarray) -> torch.Tensor:
    """Packed matrices [L, n (n + 1) / 2] with the rows and columns of each matrix permuted by ``order``."""
    import torch

    i, j = (order[axis] for axis in np.triu_indices(len(order)))
    low, high = np.minimum(i, j), np.maximum(i, j)
    places = torch.as_tensor(low * len(order) - low * (low - 1) // 2 + high - low, device=packed.device)
    return packed.index_select(1, places)


def unit_rows(rows: torch.Tensor) -> torch.Tensor:
    """Divide rows by their norms, in place. A row of zeros becomes NaN, which ``prh.core.scoring.scores`` reports."""
    for row in rows:
        row /= row.double().norm()
    return rows


def cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Products of unit rows, in [-1, 1]: float64 [L_x, L_y]."""
    return packed_products(a, b).clip(-1, 1)  # rounding can exceed 1


def packed_products(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Products of rows: float64 [L_x, L_y]. Summed in float64, as a float32 sum of 10^6 small terms loses digits."""
    run = 2**13
    parts = zip(a.split(run, dim=1), b.split(run, dim=1), strict=True)
    return sum((p @ q.T).double() for p, q in parts).cpu().numpy()


def packed_diagonal(n: int) -> np.ndarray:
    """Indices of the diagonal of an n x n matrix in its packed row: int [n]."""
    i = np.arange(n)
    return i * n - i * (i - 1) // 2


def packed_gb(x: Representation) -> float:
    """Memory, in GB, of one packed matrix per layer of x."""
    return len(x) * x.n * (x.n + 1) / 2 * 4 / 2**30
