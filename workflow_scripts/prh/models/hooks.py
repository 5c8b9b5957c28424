"""Hooks of torch modules that are there for one pass only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torch.utils.hooks import RemovableHandle


def first_tensor(output: Tensor | tuple) -> Tensor:
    """The output of a module, or the first of several."""
    return output if isinstance(output, Tensor) else output[0]


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Keep ``hooks`` for the block, and remove them after it, whatever became of it."""
    handles = list(hooks)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
