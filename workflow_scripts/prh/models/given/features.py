"""Features that users bring: each array of a file is a layer, its rows are joined with the samples of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prh.models.given import Part
from prh.models.given.arrays import Arrays, GivenError, Rows, opened
from prh.models.given.joining import positions

if TYPE_CHECKING:
    from prh.experiment.schema import FeaturesModel

ROWS = 512
"""Rows that are read at once."""


def read(entry: FeaturesModel, path: Path, samples: Sequence[str], dataset: str) -> Iterator[Part]:
    """The features of ``samples``, the ids of a data set, a part at a time, in their order: float32 [m, d_l] each.

    Raises GivenError, naming the file,
    for arrays that are no features (`require_features`), rows that cannot be joined (`positions`), and NaN or infinite
    values.
    """
    with opened(path) as source:
        for array in source.arrays:
            require_features(array, source.path)
        rows = positions(source, len_of(source), samples, order=entry.order, dataset=dataset)
        names = [name for array in source.arrays for name in _layer_names(array)]
        for first in range(0, len(samples), ROWS):
            part, ids = rows[first : first + ROWS], samples[first : first + ROWS]
            yield Part(names, [layer for array in source.arrays for layer in _layers(array, part, ids, path)])


def len_of(source: Arrays) -> int:
    """The number of rows of all arrays of a file. Raises GivenError where they differ."""
    counts = {array.name: array.shape[0] for array in source.arrays}
    if len(set(counts.values())) > 1:
        few, many = min(counts, key=counts.get), max(counts, key=counts.get)
        raise GivenError(
            f"{source.path}: {few} has {counts[few]:,} rows and {many} has {counts[many]:,}; all layers must have the "
            "same samples."
        )
    return next(iter(counts.values()))


def require_features(array: Rows, path: Path) -> None:
    """Raise GivenError unless an array is [n, d] or [n, layers, d] of floating numbers."""
    where = f"{path}, {array.name}"
    require_floating(array, where)
    if len(array.shape) not in (2, 3) or not all(array.shape):
        raise GivenError(
            f"{where} has shape {list(array.shape)}; features must be [samples, width] or [samples, layers, width]."
        )


def require_floating(array: Rows, where: str) -> None:
    """Raise GivenError for complex and whole numbers, and for text."""
    if "complex" in array.dtype:
        raise GivenError(
            f"{where} holds complex numbers; give their real and imaginary parts, or their absolute values."
        )
    if "float" not in array.dtype:
        raise GivenError(
            f"{where} holds {array.dtype}, no floating numbers; convert it to float32 if they are amounts."
        )


def _layer_names(array: Rows) -> list[str]:
    if len(array.shape) == 2:
        return [array.name]
    return [f"{array.name}_{number}" for number in range(array.shape[1])]


def _layers(array: Rows, rows: np.ndarray, samples: Sequence[str], path: Path) -> list[np.ndarray]:
    """The layers of an array, float32 [rows, d] each."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        values = np.asarray(array.read(rows), np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        sample = samples[int(np.argmin(finite))]
        raise GivenError(
            f"{path}, {array.name}: NaN or infinite feature for sample {sample!r}; leave it out or mend it."
        )
    return [values] if values.ndim == 2 else list(np.moveaxis(values, 1, 0))
