"""Which row of what is scored is which sample of a bank: joined by sample ids, or in the bank's own order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


def as_ids(ids: Iterable[object], n: int, what: str) -> list[str]:
    """``ids`` as strings. Raises ValueError unless there are ``n`` of them, all different; ``what`` has these rows."""
    ids = [str(one) for one in ids]
    if len(ids) != n:
        raise ValueError(f"there are {len(ids):,} sample_ids and {what} has {n:,} rows; pass one id for each row.")
    sample, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if count > 1:
        raise ValueError(f"sample_ids have {sample!r} {count} times; each sample has one row.")
    return ids


def order_of(samples: Sequence[str], ids: Iterable[object] | None, n: int, what: str) -> np.ndarray | None:
    """The row of each of the bank's ``samples``: int [samples]; None if the ``n`` rows of ``what`` are in their order.

    Rows with other ids than those of ``samples`` are not used. Raises ValueError if a sample has no row, an id occurs
    twice, or, without ``ids``, the counts differ.
    """
    if ids is None:
        if n != len(samples):
            raise ValueError(
                f"{what} has {n:,} rows and the bank {len(samples):,} samples; pass sample_ids, or one row for each "
                "sample in the bank's order."
            )
        return None
    row_of = {sample: row for row, sample in enumerate(as_ids(ids, n, what))}
    missing = [sample for sample in samples if sample not in row_of]
    if missing:
        raise ValueError(
            f"{what} has no row for {len(missing):,} of the bank's {len(samples):,} samples, such as {missing[0]!r}; "
            "every sample of the bank must be there."
        )
    order = np.array([row_of[sample] for sample in samples])
    return None if np.array_equal(order, np.arange(n)) else order
