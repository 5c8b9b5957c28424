"""Representations that users bring: features and kernels in files, matched with the samples of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prh.downloads.sources import source_of
from prh.io.functions import resolved


class Part(NamedTuple):
    """A few samples as something given represents them.

    Attributes
    ----------
    names : sequence of str
        What its layers are called.
    layers : sequence of floating [m, width_l]
        Their features; or, if ``is_kernel``, the similarities [m, n] of these samples with all n.
    is_kernel : bool
        Whether the layers are rows of kernels.
    """

    names: Sequence[str]
    layers: Sequence[np.ndarray]
    is_kernel: bool = False


def give(entry: Any, samples: Sequence[str], *, dataset: str, root: Path, **_how: Any) -> Iterator[Part]:
    """The parts that the source of an entry reads from ``root`` for the samples of a data set, in their order."""
    return resolved(source_of("models", entry).read)(entry, root, samples, dataset)
