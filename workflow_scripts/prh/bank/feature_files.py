"""Files of features to be scored: the forms of files that models of ``source: features`` are read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prh.models.given.arrays import Rows, opened
from prh.models.given.features import len_of, require_features


def read(path: Path) -> tuple[dict[str, np.ndarray], list[str] | None]:
    """(layers by name, in order of depth; the sample id of each row, None if the file has none) of a file or folder.

    An array [n, layers, d] counts as that many layers. Raises GivenError for a file that is missing, damaged or of
    another form, and for arrays that are not features.
    """
    with opened(path) as source:
        for array in source.arrays:
            require_features(array, source.path)
        rows = np.arange(len_of(source))
        layers = {name: layer for array in source.arrays for name, layer in _layers(array, rows)}
        return layers, None if source.ids is None else list(source.ids)


def _layers(array: Rows, rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
    content = np.array(array.read(rows))  # a copy, because temporary files of an archive go when it is closed
    if content.ndim == 2:
        return [(array.name, content)]
    return [(f"{array.name}_{number}", content[:, number]) for number in range(content.shape[1])]
