"""Hooks on torch modules that last for one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.utils.hooks import RemovableHandle


def first_tensor(output: Tensor | tuple) -> Tensor:
    """A module's output, or the first of several outputs."""
    return output if isinstance(output, Tensor) else output[0]


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep ``hooks`` for the length of the block and remove them afterwards, even if it raises."""
    handles = list(hooks)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
