"""Kernels that users bring: matrices of similarities between all pairs of samples, checked, or made of dissimilarities.

A kernel stands for features that nobody has: judgements of people, responses of a brain region, distances of sequences.
If features exist, their kernel is X X', and every metric that works from kernels gives the same score from either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from prh.core.float32 import as_array, as_tensor
from prh.core.neighbour_lists import tiled

ASYMMETRY = 1e-5
"""Entries (i, j) and (j, i) that differ by less than this share of the largest entry differ by rounding only.

Products in float32 are off by up to 3e-6 of the norms of their factors, whatever the width of the features, and
matrices written as text usually have at least six digits. Half precision has fewer, so there two units in its last
place are allowed.
"""
CONSTANT = 48
"""Similarities that differ by fewer roundings than this (each 2**-24 in float32) are equal: ``prh.core.neighbours``
allows the same error for products in float32."""
_SMALL = 2.0**-6
"""If all dissimilarities are below this, float32 similarities near 1 keep fewer than 18 bits to tell them apart."""


def as_kernel(K: Any, name: str, device: str = "cpu") -> torch.Tensor:
    """Check a kernel, and make it exactly symmetric where it is symmetric up to rounding.

    Parameters
    ----------
    K : floating [n, n]
        Similarities of all pairs of samples, NumPy or torch; n >= 2.
    name : str
        What messages call it.
    device : str
        torch device of the result.

    Returns
    -------
    Tensor [n, n]
        float64 if ``K`` is, else float32. It shares the memory of ``K`` where nothing had to be changed.

    Raises
    ------
    ValueError
        If it is not square, holds integers, text, complex numbers, NaN, inf or values that float32 cannot hold, is not
        symmetric (``ASYMMETRY``), or has one sample.
    """
    return _as_symmetric(K, name, device)


def similarities(dissimilarities: Any, *, name: str = "the matrix of dissimilarities") -> Any:
    """The kernel of a matrix of dissimilarities D, for ``Representation(kernels=...)``: K = 1 - D.

    What this means depends on the dissimilarities:

    - For correlation or cosine distances 1 - r it gives back r exactly: the kernel of the standardised or unit rows.
    - Neighbours, and ``rsa`` with Spearman's correlation, depend only on the order of the dissimilarities, so any other
      distance may take their place.
    - Metrics of the CKA family centre the kernel, which removes the 1. Half of the squared Euclidean distances give the
      kernel of the features. Unsquared ones give another kernel; ``cka`` then is the (squared) distance correlation.

    Parameters
    ----------
    dissimilarities : floating [n, n]
        NumPy or torch: symmetric, at least 0, with 0 on the diagonal; each up to rounding.
    name : str
        What messages call it, such as "the model and its layer".

    Returns
    -------
    floating [n, n]
        Exactly symmetric with ones on the diagonal; NumPy or torch, float32 or float64, like the input. If all
        dissimilarities are below 2**-6, float32 similarities near 1 could hardly tell them apart, so the power of two
        that is just above the largest of them takes the place of the 1.

    Raises
    ------
    ValueError
        For a matrix that is not square, floating, finite or symmetric, has one sample, has negative entries, or whose
        diagonal is not 0.

    Examples
    --------
    >>> import numpy as np
    >>> import prh
    >>> similarities = prh.similarities(np.array([[0.0, 0.5], [0.5, 0.0]]))
    >>> similarities.tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    D = _as_symmetric(dissimilarities, name, str(getattr(dissimilarities, "device", "cpu")))
    largest = float(D.max())
    rounding = ASYMMETRY * max(largest, float(D.min().abs()))
    if float(D.min()) < -rounding:
        i, j = divmod(int(D.argmin()), len(D))
        raise ValueError(
            f"{name}: the dissimilarity of samples {i} and {j} is {float(D[i, j]):g}; dissimilarities cannot be "
            "negative: pass similarities as a kernel as they are."
        )
    diagonal = D.diagonal()
    if float(diagonal.max()) > rounding:
        i = int(diagonal.argmax())
        raise ValueError(
            f"{name}: the dissimilarity of sample {i} to itself is {float(diagonal[i]):g}; it must be 0: pass "
            "similarities as a kernel as they are, or set the diagonal to 0."
        )
    one = 1.0 if largest >= _SMALL or largest <= 0 else 2.0 ** math.ceil(math.log2(largest))
    K = (one - D.clamp(min=0)).fill_diagonal_(one)
    return K if isinstance(dissimilarities, torch.Tensor) else K.numpy()


def is_constant_kernel(K: torch.Tensor) -> bool:
    """Whether all samples are equally similar: the entries off the diagonal are equal up to rounding (``CONSTANT``)."""
    n = len(K)
    if n < 2:
        return True
    others = K.reshape(-1)[1:].view(n - 1, n + 1)[:, :-1]  # each row ends before the next entry of the diagonal
    low, high = (float(value) for value in others.aminmax())
    return is_rounding(high - low, K, largest=max(abs(low), abs(high)))


def is_rounding(difference: float, K: torch.Tensor, largest: float) -> bool:
    """Whether a difference between entries of ``K`` of up to ``largest`` may be rounding only (``CONSTANT``)."""
    if difference > CONSTANT * 2.0**-24 * largest:
        return False
    exact = K.dtype == torch.float64 and bool((K.float() != K).any())  # else these are float32 values in float64
    return difference <= CONSTANT * (2.0**-53 if exact else 2.0**-24) * largest


def as_similarities(K: Any, name: str, device: str = "cpu") -> torch.Tensor:
    """``K`` as a tensor [rows, columns] of finite values, float64 if it is, else float32; ValueError for anything else.

    It shares the memory of ``K`` where it can.
    """
    matrix = as_array(K, name)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"{name} has shape {list(matrix.shape)}; it must be a matrix [n, n] of all pairs of samples "
            "(scipy's squareform makes one of a list of pairs)."
        )
    is_floating = matrix.is_floating_point() if isinstance(matrix, torch.Tensor) else matrix.dtype.kind == "f"
    if not is_floating:
        raise ValueError(f"{name} holds {matrix.dtype}; it must be floating: convert it with astype(float).")
    tensor = as_tensor(matrix).to(device)
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    largest = max(abs(float(value)) for value in tensor.aminmax())  # NaN if any value is, which no comparison accepts
    if not largest <= torch.finfo(torch.float32).max:
        raise ValueError(
            f"{name} holds NaN or infinite values, or values beyond float32; mend them or drop those samples."
        )
    if 0 < largest < torch.finfo(torch.float32).tiny:
        raise ValueError(f"{name} holds no value above {largest:g}, too small for float32; multiply it by a constant.")
    return tensor


def _as_symmetric(K: Any, name: str, device: str) -> torch.Tensor:
    """``as_similarities`` of a square matrix that is symmetric up to rounding, made exactly symmetric."""
    tensor = as_similarities(K, name, device)
    n, columns = tensor.shape
    if n != columns:
        raise ValueError(f"{name} has shape [{n}, {columns}]; it must be square, one row and one column per sample.")
    if n < 2:
        raise ValueError(f"{name} has one sample; alignment compares pairs of samples, so it needs at least two.")
    gap, i, j = _largest_gap(tensor)
    if not gap:
        return tensor
    half = isinstance(K, (np.ndarray, torch.Tensor)) and K.dtype.itemsize == 2
    last = 2 * torch.finfo(as_tensor(K[:1, :1]).dtype).eps if half else 0.0
    if gap > max(ASYMMETRY, last) * float(tensor.abs().max()):
        raise ValueError(
            f"{name} is not symmetric: entry ({i}, {j}) is {float(tensor[i, j]):g} and entry ({j}, {i}) is "
            f"{float(tensor[j, i]):g}; average it with its transpose if either will do."
        )
    return (tensor + tensor.T) / 2


def _largest_gap(K: torch.Tensor) -> tuple[float, int, int]:
    """The largest difference between K[i, j] and K[j, i], with i and j."""
    gaps = []
    for rows in tiled(len(K), max(1, 2**22 // len(K))):
        gap = (K[rows, rows.start :] - K[rows.start :, rows].T).abs()
        i, j = divmod(int(gap.argmax()), gap.shape[1])
        gaps.append((float(gap[i, j]), rows.start + i, rows.start + j))
    return max(gaps)
