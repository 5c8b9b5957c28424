"""Operations on stored lists of neighbours that need neither a new search nor torch.

Jobs that only read neighbour tables start faster because they do not import torch.
"""

from __future__ import annotations

import numpy as np


def tiled(n: int, size: int) -> list[slice]:
    """Slices of length ``size`` that cover 0 to n - 1; the last one may be shorter."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def restrict(indices: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    """The k nearest neighbours among the samples ``keep`` only, read from deeper lists.

    Parameters
    ----------
    indices : int [n, k_max]
        Neighbours among all n samples, nearest first.
    keep : int [m]
        Distinct samples; ``keep[i]`` becomes row i, and neighbours are renumbered accordingly.
    k : int
        How many neighbours to return.

    Returns
    -------
    int32 [m, k]
        The exact neighbours, never padded or shortened.

    Raises
    ------
    ValueError
        If ``keep`` is not distinct integers, or a list holds fewer than k kept samples.
    """
    keep = np.asarray(keep)
    if keep.ndim != 1 or not np.issubdtype(keep.dtype, np.integer) or len(np.unique(keep)) != len(keep):
        raise ValueError("keep must be distinct sample indices: a one-dimensional integer array without repeats.")
    new_index = np.full(len(indices), -1, np.int32)
    new_index[keep] = np.arange(len(keep), dtype=np.int32)
    renumbered = new_index[np.asarray(indices)[keep]]
    kept = renumbered >= 0
    chosen = kept & (np.cumsum(kept, axis=1, dtype=np.int32) <= k)
    short = int((chosen.sum(axis=1) < k).sum())
    if short:
        raise ValueError(
            f"{short} of {len(keep)} samples have fewer than k = {k} kept samples among their {indices.shape[1]} "
            "nearest; raise k_max, keep more samples or lower k."
        )
    return renumbered[chosen].reshape(len(keep), k)
