"""The default way in which samples reach an encoder: a few rows of a shard at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prh.io import tables
from prh.modalities.base import FeatureError, ignored
from prh.modalities.registry import modality_of

if TYPE_CHECKING:
    from prh.modalities.base import Encoder

ROWS = 64
"""Default batch size."""


def encode(
    encoder: Encoder,
    shards: Sequence[Path],
    *,
    entry: Any,
    batch_size: int | None = None,
    workers: int = 1,
    advance: Callable[[float], None] = ignored,
) -> Iterator[list[np.ndarray]]:
    """For each shard, what ``encoder.encode`` returns for its rows, ``batch_size`` of them at a time.

    Raises FeatureError if that is not one vector per row and layer.
    """
    columns, size = ["sample_id", *modality_of(entry).reads], batch_size or ROWS
    for path in shards:
        shard = tables.read(path, columns)
        pending: list[list[np.ndarray]] = []
        for start in range(0, len(shard), size):
            rows = shard.slice(start, size)
            layers = [np.asarray(layer, np.float32) for layer in encoder.encode(rows)]
            if len(layers) != len(encoder.layer_names) or any(
                layer.ndim != 2 or len(layer) != len(rows) for layer in layers
            ):
                raise FeatureError(
                    f"model {entry.name!r} gives arrays of {[layer.shape for layer in layers]} for {len(rows)} samples "
                    f"and {len(encoder.layer_names)} layers; each layer must be [samples, width]."
                )
            pending.append(layers)
            advance(len(rows))
        yield [np.concatenate(parts) for parts in zip(*pending, strict=True)]
