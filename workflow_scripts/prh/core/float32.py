"""float32 matrices: converted from user input with clear errors, and multiplied without TF32."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def as_matrix(x: Any, name: str, device: str = "cpu") -> torch.Tensor:
    """``x`` as a float32 tensor [n, d] on ``device``.

    Raises ValueError, referring to it as ``name``, unless it is a two-dimensional array of finite floats.
    """
    matrix = as_array(x, name)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} has shape {list(matrix.shape)}; it must be [n, d], one row per sample.")
    is_floating = matrix.is_floating_point() if isinstance(matrix, torch.Tensor) else matrix.dtype.kind == "f"
    if not is_floating:
        raise ValueError(f"{name} holds {matrix.dtype}; features must be floating: convert them with astype(float32).")
    tensor = as_tensor(matrix).to(device, torch.float32)
    if not all(map(torch.isfinite, tensor.aminmax())):  # min and max are NaN if any value is
        raise ValueError(
            f"{name} holds NaN or infinite values, or values beyond float32; fix the features or drop those samples."
        )
    return tensor


def as_array(x: Any, name: str) -> np.ndarray | torch.Tensor:
    """``x`` as an array, or as it is if it is a tensor; ValueError for rows of unequal length and masked values."""
    if isinstance(x, torch.Tensor):
        return x.detach()
    if np.ma.is_masked(x):
        raise ValueError(f"{name} has masked values, which count as missing; fill them in or drop those samples.")
    try:
        return np.asarray(x)
    except ValueError:
        raise ValueError(f"{name} is no array; its rows must have the same length.") from None


def as_tensor(matrix: np.ndarray | torch.Tensor) -> torch.Tensor:
    """A tensor that shares the memory of an array of floats where torch can read it; a tensor is returned as it is."""
    if isinstance(matrix, torch.Tensor):
        return matrix
    # torch supports neither swapped bytes nor negative strides nor long doubles
    native = matrix.dtype.newbyteorder("=") if matrix.itemsize <= 8 else np.float64
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # we only read it
        return torch.as_tensor(np.ascontiguousarray(matrix, native))


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute products in true float32: disable TF32 inside the block, whatever the process has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
