"""Which texts share a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prh.models.text_checks import Batching


def length_batches(
    lengths: Sequence[int], tokens: int, size: int | None = None, batching: Batching = "padded"
) -> Iterator[list[int]]:
    """Positions of texts in batches of similar length, the longest first.

    A batch padded to its longest text holds at most ``tokens`` tokens (but one text always fits), or exactly
    ``size`` texts where that is given. The longest batch comes first, so that memory runs out at once or never.
    ``batching``: whether its texts may be padded, must be of equal length, or must be single.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        stop = start + (size or max(1, tokens // max(1, longest)))
        if batching == "single":
            stop = start + 1
        elif batching == "equal":
            stop = next((i for i in range(start, min(stop, len(order))) if lengths[order[i]] != longest), stop)
        yield order[start:stop]
        start = stop
