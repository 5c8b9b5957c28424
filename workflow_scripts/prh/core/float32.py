"""Matrices of float32: made of what users give, and multiplied in full precision."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def as_matrix(x: Any, name: str, device: str = "cpu") -> torch.Tensor:
    """``x`` as a float32 tensor [n, d] on ``device``; ValueError, calling it ``name``, if it is not finite floats."""
    given = x.detach() if isinstance(x, torch.Tensor) else np.asarray(x)
    if given.ndim != 2 or 0 in given.shape:
        raise ValueError(f"{name} has shape {list(given.shape)}; it must be [n, d], one row per sample.")
    is_floating = given.is_floating_point() if isinstance(given, torch.Tensor) else given.dtype.kind == "f"
    if not is_floating:
        raise ValueError(f"{name} holds {given.dtype}; features must be floating: convert them with astype(float32).")
    if isinstance(given, np.ndarray):  # torch knows no other order of bytes, no negative strides, no long doubles
        native = given.dtype.newbyteorder("=") if given.itemsize <= 8 else np.float64
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
            given = torch.as_tensor(np.ascontiguousarray(given, native))
    tensor = given.to(device, torch.float32)
    if not all(map(torch.isfinite, tensor.aminmax())):  # NaN wins both
        raise ValueError(
            f"{name} holds NaN or infinite values (or beyond float32); mend the features or drop those samples."
        )
    return tensor


@contextmanager
def full_float32() -> Iterator[None]:
    """Products in true float32: switch TF32 off for the block, whatever the process has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
