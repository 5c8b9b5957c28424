"""Features: every layer of a model for every sample of a data set, pooled, checked, resumable.

Work is cut by shard: each finished shard is a part on disk, and a run that was killed goes on after the last part.
Memory holds one shard of features at a time, whatever the number of samples.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prh.features.batches import length_batches
from prh.io import files, tables, versions
from prh.jobs.about import about
from prh.jobs.progress import Progress
from prh.models import memory
from prh.models.selftest import SelfTest

if TYPE_CHECKING:  # a job depends on the modality of its own model only
    from prh.modalities.language import LanguageEncoder
    from prh.modalities.vision import VisionEncoder
    from prh.modalities.word_vectors import WordVectors

    Encoder = VisionEncoder | LanguageEncoder | WordVectors

# Samples in a batch where the entry leaves it to us. On a CPU larger batches gain nothing; tokens are what costs in
# language, so batches of text are cut by padded tokens.
IMAGES = {"cpu": 16, "cuda": 256}
TOKENS = {"cpu": 2048, "cuda": 32768}
PINNED = 2**30
"""Bytes of decoded images that may lie ready for a GPU, in all workers together."""


class FeatureError(ValueError):
    """A model gave a feature that cannot be used; the message names model, layer and sample."""


def _untold(_count: float) -> None:
    """Where nobody follows the progress."""


# ---- one shard ------------------------------------------------------------------------------------------------


class _Images(Dataset):
    """The images of some shards, decoded on access; shards are read where they are needed, one at a time."""

    def __init__(self, shards: Sequence[Path], decode: Callable[[bytes], Tensor]) -> None:
        self.shards, self.decode = shards, decode
        self._loaded: tuple[int, pa.ChunkedArray] | None = None

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        shard, row = place
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
    advance: Callable[[int], None] = _untold,
) -> Iterator[list[np.ndarray]]:
    """For each shard the features of its images, a list of float32 [samples, width_l], in sample order.

    For a GPU, ``workers`` processes decode ahead of the model, across shards. On a CPU, where decoding can only take
    from the model, the model's own threads do both in turns. ``advance`` is told how many samples each batch held.
    """
    counts = [_rows(path) for path in shards]
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
    for places, batch in zip(batches, decoded(images, batches), strict=True):
        shard, row = places[-1]
        with about(f"samples {places[0][1]} to {row} of {shards[shard]}"):
            pending.append([layer.cpu() for layer in encode(batch)])
        advance(len(places))
        if row == counts[shard] - 1:
            yield [torch.cat(parts).numpy() for parts in zip(*pending, strict=True)]
            pending = []


def _decoded_in_turns(images: _Images, batches: Sequence[list[tuple[int, int]]]) -> Iterator[Tensor]:
    """Each batch by threads that end before the model goes on: while more threads than cores have done work of torch,
    OpenMP lets those of the model sleep after every operation, which can take half of its speed.
    """
    count = torch.get_num_threads()
    for batch in batches:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            decoded = list(threads.map(images.__getitem__, batch))
        yield _stacked(decoded)


def _decoded_ahead(images: _Images, batches: Sequence[list[tuple[int, int]]], workers: int) -> Iterator[Tensor]:
    """Each batch by ``workers`` processes: up to four ahead in each, as far as ``PINNED`` bytes hold them."""
    ahead = 0
    if batches:
        first = _Images(images.shards, images.decode)[batches[0][0]]  # by another, or the shard stays with this one
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
    """Images [3, H, W] as one [batch, 3, H, W] with the channels last, as they lie in a decoded image."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def encode_texts(
    encoder: LanguageEncoder | WordVectors,
    texts: Sequence[str],
    *,
    template: str = "{caption}",
    batch_size: int | None = None,
    advance: Callable[[int], None] = _untold,
) -> list[np.ndarray]:
    """Features of ``texts``, a list of float32 [texts, width_l], in their order; similar lengths share a batch.

    Each is put into ``template``. The tokenizer is proved on the texts without it: words that stand in all of them tell
    nothing of the others. ``advance`` is told how many texts each batch held.
    """
    items = encoder.tokenize(texts)
    encoder.prove_tokens(texts, items)
    if template != "{caption}":
        items = encoder.tokenize([template.format(caption=text) for text in texts])
    lengths = [len(ids) for ids, _ in items]
    encode = memory.Halving(encoder.encode, cost=_padded_tokens)
    result: list[np.ndarray] | None = None
    batching = getattr(encoder, "batching", "padded")
    for batch in length_batches(lengths, TOKENS[encoder.device], batch_size, batching):
        with about(f"the text {texts[batch[0]][:60]!r} and those of its batch"):
            layers = encode([items[i] for i in batch])
        advance(len(batch))
        if result is None:
            result = [np.empty((len(texts), layer.shape[1]), np.float32) for layer in layers]
        for whole, layer in zip(result, layers, strict=True):
            whole[batch] = layer.cpu().numpy()
    return result or []


def _padded_tokens(items: Sequence[tuple[Tensor, Tensor]]) -> int:
    return len(items) * max(len(ids) for ids, _ in items)


def captions_of(shard: pa.Table, which: int | str) -> list[list[str]]:
    """Of each sample caption number ``which``, or every caption for "all"."""
    chosen = []
    for sample_id, captions in zip(shard["sample_id"].to_pylist(), shard["captions"].to_pylist(), strict=True):
        if not captions or (which != "all" and which >= len(captions)):
            raise FeatureError(
                f"sample {sample_id!r} has {len(captions or [])} captions; caption {which} is asked for."
            )
        chosen.append(captions if which == "all" else [captions[which]])
    return chosen


def encode_captions(
    encoder: LanguageEncoder | WordVectors,
    shards: Sequence[Path],
    *,
    caption: int | str = 0,
    template: str = "{caption}",
    batch_size: int | None = None,
    advance: Callable[[float], None] = _untold,
) -> Iterator[list[np.ndarray]]:
    """For each shard the features of its captions (averaged over a sample's captions for "all").

    ``advance`` is told how many samples each batch was worth.
    """
    for path in shards:
        captions = captions_of(tables.read(path, ["sample_id", "captions"]), caption)
        texts = list(chain.from_iterable(captions))
        share = len(captions) / max(1, len(texts))
        with about(str(path)):
            layers = encode_texts(
                encoder,
                texts,
                template=template,
                batch_size=batch_size,
                advance=lambda count, share=share: advance(count * share),
            )
        starts = np.cumsum([0, *map(len, captions)])
        counts = np.diff(starts)[:, None].astype(np.float32)
        yield [np.add.reduceat(layer, starts[:-1], axis=0) / counts for layer in layers]


def check_finite(
    layers: Sequence[np.ndarray], sample_ids: Sequence[str], layer_names: Sequence[str], model: str
) -> None:
    """Raise FeatureError naming model, layer and sample for the first NaN or infinite feature."""
    for layer, name in zip(layers, layer_names, strict=True):
        finite = np.isfinite(layer).all(axis=1)
        if not finite.all():
            sample = sample_ids[int(np.argmin(finite))]
            raise FeatureError(
                f"model {model!r}, layer {name}: NaN or infinite feature for sample {sample!r} "
                f"({int((~finite).sum())} samples of this shard); try dtype: float32 or leave the sample out."
            )


# ---- a whole data set -----------------------------------------------------------------------------------------


def recipe(*facts: object) -> str:
    """A digest of what a part is made from; a part with another digest is made anew.

    Beside ``facts`` that is the code of prh, as far as it is loaded, and the versions of libraries: snakemake runs the
    job again when these change, and parts of before must not be joined with parts of after.
    """
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "prh"}
    code = {name: files.sha256(Path(module.__file__)) for name, module in loaded.items()}
    made_from = [facts, code, versions.libraries()]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()[:16]


def extract(
    encoder: Encoder,
    shards: Sequence[Path],
    output: Path,
    *,
    model: str,
    digest: str,
    caption: int | str = 0,
    template: str = "{caption}",
    keep: Sequence[int] | None = None,
    batch_size: int | None = None,
    workers: int = 1,
    made_by: Mapping[str, object] | None = None,
) -> None:
    """Write the features table of ``encoder`` over ``shards`` to ``output``, going on after parts already there.

    Parts live in ``output``.parts/ and count only with the same ``digest``. The table has a row per sample, in shard
    order, and a layer_* column per layer (float32), or per layer numbered in ``keep`` (counted from the end if
    negative). Parts of shards that are there no longer are removed. Raises FeatureError for a NaN or
    infinite feature; the parts that were finished stay.
    """
    kept = kept_layers(keep, len(encoder.layer_names), model)
    names = [encoder.layer_names[number] for number in kept]
    parts = [output.with_suffix(".parts") / path.name for path in shards]
    for left_over in set(parts[0].parent.glob("*")).difference(parts):
        left_over.unlink()
    todo = [i for i, part in enumerate(parts) if not _is_done(part, digest)]
    counts = [_rows(path) for path in shards]
    ahead = [shards[i] for i in todo]
    with about(f"model {model!r}"), Progress(f"features of {model}", total=sum(counts), unit="sample") as progress:
        how = {"batch_size": batch_size, "advance": progress.advance}
        if hasattr(encoder, "decode"):  # it reads images
            encoded = encode_images(encoder, ahead, workers=workers, **how)
        else:
            encoded = encode_captions(encoder, ahead, caption=caption, template=template, **how)
        progress.skip(sum(counts) - sum(counts[i] for i in todo))
        for i, layers in zip(todo, encoded, strict=True):
            ids = tables.read(shards[i], ["sample_id"])["sample_id"].to_pylist()
            layers = [layers[number] for number in kept]
            check_finite(layers, ids, names, model)
            tables.write(tables.layers_table(ids, layers, kept), parts[i], {"digest": digest})
    facts = {
        "model": model,
        "layer_names": list(encoder.layer_names),
        "parameters": encoder.parameters,
        "selftest": getattr(encoder, "selftest", SelfTest()).as_footer(),
    }
    _join_parts(parts, output, tables.provenance(**facts, digest=digest, **(made_by or {})))


def kept_layers(keep: Sequence[int] | None, layers: int, model: str) -> list[int]:
    """The numbers from 0 of the layers in ``keep``, in order of depth; all ``layers`` of them for None."""
    if keep is None:
        return list(range(layers))
    for number in keep:
        if not -layers <= number < layers:
            raise FeatureError(f"layer {number} of model {model!r} is asked for, which has {layers}; lower it.")
    return sorted({number % layers for number in keep})


def _rows(path: Path) -> int:
    with tables.open_table(path) as source:
        return source.metadata.num_rows


def _is_done(part: Path, digest: str) -> bool:
    try:
        return part.is_file() and tables.made_by(part).get("digest") == digest
    except tables.TableError:
        return False


def _join_parts(parts: Sequence[Path], output: Path, made_by: Mapping[str, object]) -> None:
    """Write the parts as the row groups of one table, one at a time, and remove them."""
    with tables.open_table(parts[0]) as first:
        schema = first.schema_arrow.remove_metadata()
    ids = [sample for part in parts for sample in tables.read(part, ["sample_id"])["sample_id"].to_pylist()]
    with tables.writer(output, schema, {**made_by, "samples": tables.digest_of_samples(ids)}) as sink:
        for part in parts:
            sink.write_table(tables.read(part).cast(schema))
    shutil.rmtree(parts[0].parent)
