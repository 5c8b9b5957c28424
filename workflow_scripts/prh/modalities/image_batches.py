"""Batches of images: how they are cut, and decoded either ahead of the model or in turns with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prh.io import tables
from prh.jobs.about import about
from prh.modalities.base import ignored
from prh.models import memory

if TYPE_CHECKING:  # a runtime import would make jobs of other modalities depend on this encoder
    from prh.modalities.vision import VisionEncoder

IMAGES = {"cpu": 16, "cuda": 256}
"""Default batch size, by device. On a CPU larger batches gain nothing."""
PINNED = 2**30
"""Bytes of decoded images that all workers together may hold ready for a GPU."""


def encode(encoder: VisionEncoder, shards: Sequence[Path], *, entry: Any, **how: Any) -> Iterator[list[np.ndarray]]:
    """`encode_images`, as `Modality.encode` is called; nothing depends on the ``entry``."""
    return encode_images(encoder, shards, **how)


class _Images(Dataset):
    """The images of some shards, decoded on access. Each process holds one shard at a time."""

    def __init__(self, shards: Sequence[Path], decode: Callable[[bytes], Tensor]) -> None:
        self.shards, self.decode = shards, decode
        self._loaded: tuple[int, pa.ChunkedArray] | None = None

    def __getitem__(self, position: tuple[int, int]) -> Tensor:
        shard, row = position
        if self._loaded is None or self._loaded[0] != shard:
            image = tables.read(self.shards[shard], ["image"])["image"].combine_chunks()
            self._loaded = shard, image.field("bytes")
        with about(f"sample {row} of {self.shards[shard]}"):
            return self.decode(self._loaded[1][row].as_py())


def encode_images(
    encoder: VisionEncoder,
    shards: Sequence[Path],
    *,
    batch_size: int | None = None,
    workers: int = 1,
    advance: Callable[[int], None] = ignored,
) -> Iterator[list[np.ndarray]]:
    """For each shard, the features of its images in sample order, a list of float32 [samples, width_l] per layer.

    For a GPU, ``workers`` processes decode ahead of the model, across shards. On a CPU, where decoding would only take
    cores from the model, the model's own threads do both in turns. ``advance`` is called with the number of samples in
    each finished batch.
    """
    counts = [tables.rows(path) for path in shards]
    images = _Images(shards, encoder.decode)
    size = batch_size or IMAGES[encoder.device]
    batches = [
        [(shard, row) for row in range(start, min(start + size, count))]
        for shard, count in enumerate(counts)
        for start in range(0, count, size)
    ]
    decoded = _decoded_in_turns if encoder.device == "cpu" else partial(_decoded_ahead, workers=workers)
    encode = memory.Halving(encoder.encode)
    pending: list[list[Tensor]] = []
    for positions, batch in zip(batches, decoded(images, batches), strict=True):
        shard, row = positions[-1]
        with about(f"samples {positions[0][1]} to {row} of {shards[shard]}"):
            pending.append([layer.cpu() for layer in encode(batch)])
        advance(len(positions))
        if row == counts[shard] - 1:
            yield [torch.cat(parts).numpy() for parts in zip(*pending, strict=True)]
            pending = []


def _decoded_in_turns(images: _Images, batches: Sequence[list[tuple[int, int]]]) -> Iterator[Tensor]:
    """Yield each batch, decoded by threads that end before the model continues.

    While more threads than there are cores have run torch code, OpenMP lets the model's threads sleep after every
    operation, which can halve its speed.
    """
    count = torch.get_num_threads()
    for batch in batches:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            decoded = list(threads.map(images.__getitem__, batch))
        yield _stacked(decoded)


def _decoded_ahead(images: _Images, batches: Sequence[list[tuple[int, int]]], workers: int) -> Iterator[Tensor]:
    """Yield each batch, decoded by ``workers`` processes: each up to four batches ahead, within ``PINNED`` bytes."""
    ahead = 0
    if batches:
        # through a copy, or else ``images`` would hold the shard and send it to every worker
        first = _Images(images.shards, images.decode)[batches[0][0]]
        ahead = PINNED // (first.nbytes * len(batches[0]))
    return iter(
        DataLoader(
            images,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=max(1, min(4, ahead // workers)) if workers else None,
            worker_init_fn=_one_thread,
            collate_fn=_stacked,
        )
    )


def _stacked(images: Sequence[Tensor]) -> Tensor:
    """Images [3, H, W] as one [batch, 3, H, W] in the channels-last layout that decoded images have."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
