"""Breaking ties between equally near samples: a separate random order for every sample, layer and model.

If ties were broken by index, two models would break them in the same way and favour the same samples. A permutation
null permutes finished lists and so removes that shared preference: mere chance would become significant. With orders
that are independent between models, unrelated representations with ties agree by chance only, as much as the null says.

The order is a function of (key, sample, candidate) alone, without any state. So it does not depend on the device, the
tile, the number of threads or the order of layers, and the lists for a subset of samples equal those read from deeper
lists. The key depends on the name of the model and the number of the layer. The price: the same features under two
names no longer score 1 if they contain ties, since nothing in them says which of two equal samples is nearer.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    import torch

BOUND = 0.05  # tables and figures name models in which the k-th neighbour of more than this share of samples is random

_WORD = 2**32 - 1


def tied_models(best: pl.DataFrame) -> list[str]:
    """Sorted names of the models in a table of best layer pairs that the columns tied_x or tied_y mark as tied.

    Empty if the table lacks these columns.
    """
    sides = [side for side in ("x", "y") if f"tied_{side}" in best.columns]
    return sorted({name for side in sides for name in best.filter(f"tied_{side}")[f"model_{side}"]})


def key_of(name: str, layer: int) -> int:
    """The 64-bit key of a layer, derived only from the name of its model and its number."""
    return _digest(f"{layer} {name}".encode())


def key_of_content(x: torch.Tensor) -> int:
    """The 64-bit key of features without a name, derived from their float32 values [n, d]."""
    return _digest(np.ascontiguousarray(x.cpu().numpy()))


def _digest(content: bytes | np.ndarray) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def priorities(key: int, samples: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Priority of each candidate in the random order of each sample; the higher one counts as nearer.

    Parameters
    ----------
    key : int
        64 bits.
    samples : int64 [rows]
        Numbers of the samples whose neighbours are ordered, below 2**32.
    candidates : int64 [rows, c] or [c]
        Numbers of the candidates, below 2**32.

    Returns
    -------
    int64 [rows, c]
        From 0 to 2**32 - 1. For each sample this is a bijection of the candidates, so no two share a priority and the
        order never depends on the device. Two words of a hash of (key, sample) drive two rounds of Wellons' lowbias32
        on the candidate.
    """
    first = _mix(_mix(samples ^ (key & _WORD)) + (key >> 32) & _WORD)
    second = _mix(first + 0x5BF03635 & _WORD)
    return _mix(_mix(candidates ^ first[:, None]) + second[:, None] & _WORD)


def _mix(word: torch.Tensor) -> torch.Tensor:
    """A bijection of 32-bit words, held in int64. Its constants are below 2**31, so that no product overflows."""
    word = (word ^ (word >> 16)) * 0x21F0AAAD & _WORD
    word = (word ^ (word >> 15)) * 0x735A2D97 & _WORD
    return word ^ (word >> 15)


def sortable(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """int64 keys that sort by float32 ``values`` first and, among equal values, by ``places`` (``priorities``)."""
    import torch

    bits = (values + 0.0).view(torch.int32).long()  # adding 0 turns -0 into 0, which has other bits
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered << 32) + places
