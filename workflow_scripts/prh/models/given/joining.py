"""Which row of a file belongs to which sample of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from prh.models.given.arrays import IDS, Arrays, GivenError


def positions(
    source: Arrays, count: int, samples: Sequence[str], *, order: Literal["dataset"] | None, dataset: str
) -> np.ndarray:
    """The row of a file for each sample of a data set: int64 [len(samples)].

    Rows are joined by the ids of the file, if it has some. Otherwise they must be in the order of the data set, which
    the entry says by ``order``. ``count``: rows of the file. Raises GivenError for double, missing or absent ids, and
    for other counts; samples that the data set does not have are left out.
    """
    if source.ids is None:
        return _in_order(source, count, samples, order, dataset)
    if len(source.ids) != count:
        raise GivenError(f"{source.path} has {len(source.ids):,} sample ids for {count:,} rows.")
    rows = {sample: row for row, sample in enumerate(source.ids)}
    if len(rows) < count:
        double = next(sample for sample, times in Counter(source.ids).items() if times > 1)
        raise GivenError(f"{source.path} has the sample id {double!r} more than once; keep one row for each sample.")
    missing = [sample for sample in samples if sample not in rows]
    if missing:
        raise GivenError(
            f"{source.path} lacks {len(missing):,} of the {len(samples):,} samples of data set {dataset!r}, such as "
            f"{missing[0]!r}; its own ids are like {source.ids[0]!r}."
        )
    return np.array([rows[sample] for sample in samples], np.int64)


def _in_order(source: Arrays, count: int, samples: Sequence[str], order: str | None, dataset: str) -> np.ndarray:
    if order is None:
        raise GivenError(
            f"{source.path} has no {IDS[0]}, so nothing says which row is which sample; add the ids, or say "
            f"'order: dataset' if its rows are in the order of data set {dataset!r}."
        )
    if count != len(samples):
        raise GivenError(
            f"{source.path} has {count:,} rows and data set {dataset!r} has {len(samples):,} samples; without ids the "
            "counts must be equal."
        )
    return np.arange(count)
