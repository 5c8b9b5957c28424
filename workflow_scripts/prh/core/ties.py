"""Which of equally near samples is nearer: a random order of its own for every sample, layer and model.

Ties broken by the index would be broken alike in two models. Both would favour the same samples, and a permutation
null, which moves finished lists, permutes that favour away: chance becomes significant. With an order that knows
nothing of the other model, independent representations with ties agree by chance only, and the null says how much.

The order is a function of (key, sample, candidate) alone: no state, no draw. So it is the same on every device, for
every tile, number of threads and order of layers, and lists of a subset of the samples are those read off deeper lists.
The key is made of the model's name and the number of the layer. Its price: the same features under two names no longer
score 1 where they hold ties, since nothing in them says which of equal samples is nearer.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    import torch

BOUND = 0.05  # share of samples whose k-th neighbour is drawn by lot, above which tables and figures name the model

_WORD = 2**32 - 1


def tied_models(best: pl.DataFrame) -> list[str]:
    """Models of a table of best layer pairs whose ties exceed ``BOUND`` (tied_x, tied_y), by name, each once.

    A table without these columns names none.
    """
    sides = [side for side in ("x", "y") if f"tied_{side}" in best.columns]
    return sorted({name for side in sides for name in best.filter(f"tied_{side}")[f"model_{side}"]})


def key_of(name: str, layer: int) -> int:
    """The key of a layer of a model: 64 bits that depend on the model's name and the layer's number, nothing else."""
    return _digest(f"{layer} {name}".encode())


def key_of_content(x: torch.Tensor) -> int:
    """The key of features without a name: 64 bits that depend on the float32 values [n, d]."""
    return _digest(np.ascontiguousarray(x.cpu().numpy()))


def _digest(content: bytes | np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def priorities(key: int, samples: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Places of candidates in the random order of each sample: int64 [rows, c] from 0 to 2**32 - 1, larger ones nearer.

    Parameters
    ----------
    key : int
        64 bits.
    samples : int64 [rows]
        Numbers of the samples whose neighbours are ordered, below 2**32.
    candidates : int64 [rows, c] or [c]
        Numbers of the candidates, below 2**32.

    For each sample the numbers are shuffled one to one, so that no two candidates share a place and no order is left
    to the device. Two words of a hash of (key, sample) drive two rounds of Wellons' lowbias32 on the candidate.
    """
    first = _mix(_mix(samples ^ (key & _WORD)) + (key >> 32) & _WORD)
    second = _mix(first + 0x5BF03635 & _WORD)
    return _mix(_mix(candidates ^ first[:, None]) + second[:, None] & _WORD)


def _mix(word: torch.Tensor) -> torch.Tensor:
    """Shuffle 32-bit words, held in int64, one to one. Constants are below 2**31, so that no product overflows."""
    word = (word ^ (word >> 16)) * 0x21F0AAAD & _WORD
    word = (word ^ (word >> 15)) * 0x735A2D97 & _WORD
    return word ^ (word >> 15)


def sortable(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """int64 that is ordered by float32 ``values`` first, and among equal ones by ``places`` (``priorities``)."""
    import torch

    bits = (values + 0.0).view(torch.int32).long()  # adding 0 makes -0 and 0 equal
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered << 32) + places
