"""Lists of neighbours as tables hold them; what can be read off them without a search, and without importing torch."""

from __future__ import annotations

import numpy as np


def tiled(n: int, size: int) -> list[slice]:
    """The samples 0 to n - 1 as slices of ``size``, the last one as long as what is left."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def restrict(indices: np.ndarray, keep: np.ndarray, k: int) -> np.ndarray:
    """The k nearest neighbours among the samples ``keep`` only, read off deeper lists: int32 [len(keep), k].

    Parameters
    ----------
    indices : int [n, k_max]
        Neighbours among all n samples, nearest first.
    keep : int [m]
        Distinct samples; ``keep[i]`` becomes row i, and neighbours are numbered in the same way.
    k : int
        How many neighbours to return.

    Exact: where a list holds fewer than k kept samples, ValueError is raised, never a shorter list returned.
    """
    keep = np.asarray(keep)
    if keep.ndim != 1 or not np.issubdtype(keep.dtype, np.integer) or len(np.unique(keep)) != len(keep):
        raise ValueError("keep must be distinct sample indices: a one-dimensional integer array without repeats.")
    place = np.full(len(indices), -1, np.int32)
    place[keep] = np.arange(len(keep), dtype=np.int32)
    moved = place[np.asarray(indices)[keep]]
    kept = moved >= 0
    chosen = kept & (np.cumsum(kept, axis=1, dtype=np.int32) <= k)
    short = int((chosen.sum(axis=1) < k).sum())
    if short:
        raise ValueError(
            f"{short} of {len(keep)} samples have fewer than k = {k} kept samples among their {indices.shape[1]} "
            "nearest; make the lists deeper (raise k_max), keep more samples or lower k."
        )
    return moved[chosen].reshape(len(keep), k)
