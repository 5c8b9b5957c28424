"""Memory for large batches: reuse what was freed, notice when it runs out, and continue with half the batch."""

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
    """Make glibc keep freed memory in this process for the next batch; does nothing with another C library.

    glibc returns blocks above 32 MiB to the system at once. On a CPU, getting zeroed pages again for every layer of
    every batch costs a convnet more than half of its speed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: never allocate with mmap
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: keep up to 2 GiB


def ran_out(error: RuntimeError) -> bool:
    """Whether ``error`` means that a GPU or the CPU ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def halving(work: Callable[[int], Result], size: int) -> tuple[Result, int]:
    """``work(size)`` and the size that worked: it is halved each time memory runs out.

    Raises the error of ``work`` if memory does not suffice for a size of 1, and any other error at once.
    """
    while True:
        try:
            return work(size), size
        except RuntimeError as error:
            if size == 1 or not ran_out(error):
                raise
        _make_room(size)
        size //= 2


class Halving:
    """Calls ``encode`` on a batch, or on its halves (and theirs) if memory runs out.

    It remembers the ``cost`` of the batch that failed, and splits any batch that costs as much without trying it.
    """

    def __init__(self, encode: Callable[[list], list[Tensor]], cost: Callable[[list], int] = len) -> None:
        self.encode, self.cost, self.too_much = encode, cost, math.inf

    def __call__(self, batch: Tensor | list) -> list[Tensor]:
        """What ``encode(batch)`` returns. Raises its error if memory does not suffice for one sample."""
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
    log.warning("out of memory with a batch of %d; continuing with half of it", size)
