"""Memory of large batches: keep what was freed, know when it ran out, and go on with half."""

from __future__ import annotations

import ctypes
import logging
import math
import sys
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Result = TypeVar("Result")


def keep_freed() -> None:
    """Let this process keep the memory that it frees for its next batch, where its C library is glibc (else nothing).

    glibc gives tensors above 32 MiB back to the system at once; on a CPU, clearing their pages anew for every layer
    of every batch costs a convnet more than half of its speed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no blocks of their own
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: keep up to 2 GiB


def ran_out(error: RuntimeError) -> bool:
    """Whether ``error`` says that memory ran out, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def halving(work: Callable[[int], Result], size: int) -> tuple[Result, int]:
    """``work(size)`` and that size, halved as often as memory runs out; its error where it does with a size of 1."""
    while True:
        try:
            return work(size), size
        except RuntimeError as error:
            if size == 1 or not ran_out(error):
                raise
        _make_room(size)
        size //= 2


class Halving:
    """``encode`` in halves (and halves of these) where memory runs out; so large a batch is then not tried again.

    ``cost`` says how large a batch is.
    """

    def __init__(self, encode: Callable[[list], list[Tensor]], cost: Callable[[list], int] = len) -> None:
        self.encode, self.cost, self.too_much = encode, cost, math.inf

    def __call__(self, batch: Tensor | list) -> list[Tensor]:
        """What ``encode(batch)`` returns. Raises its error where memory does not suffice for one sample."""
        if len(batch) == 1 or self.cost(batch) < self.too_much:
            try:
                return self.encode(batch)
            except RuntimeError as error:
                if not ran_out(error) or len(batch) == 1:
                    raise
                self.too_much = self.cost(batch)
            _make_room(len(batch))
        middle = len(batch) // 2
        halves = self(batch[:middle]), self(batch[middle:])
        return [torch.cat(pair) for pair in zip(*halves, strict=True)]


def _make_room(size: int) -> None:
    torch.cuda.empty_cache()
    log.warning("out of memory with a batch of %d; going on with half of it", size)
