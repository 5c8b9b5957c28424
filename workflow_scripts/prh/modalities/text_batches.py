"""Batches of texts: cut by number of tokens, with similar lengths together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from prh.io import tables
from prh.jobs.about import about
from prh.modalities.base import FeatureError, ignored
from prh.models import memory

if TYPE_CHECKING:  # a runtime import would make jobs of other modalities depend on these encoders
    from prh.modalities.language import LanguageEncoder
    from prh.modalities.word_vectors import WordVectors
    from prh.models.text_checks import Batching

TOKENS = {"cpu": 2048, "cuda": 32768}
"""Tokens in a batch, padding included, by device: they determine the cost. On a CPU larger batches gain nothing."""


def encode(
    encoder: LanguageEncoder | WordVectors, shards: Sequence[Path], *, entry: Any, workers: int = 1, **how: Any
) -> Iterator[list[np.ndarray]]:
    """`encode_captions` with the caption and template of an entry; texts need no ``workers``."""
    return encode_captions(encoder, shards, caption=entry.caption, template=entry.template, **how)


def length_batches(
    lengths: Sequence[int], tokens: int, size: int | None = None, batching: Batching = "padded"
) -> Iterator[list[int]]:
    """Positions of texts in batches of similar length, the longest first.

    A batch padded to its longest text holds at most ``tokens`` tokens, or ``size`` texts if that is set; one text
    always fits. The longest come first, so that memory runs out at once or never. ``batching``: whether texts in a
    batch may be padded, must have equal lengths, or must be alone.
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


def encode_texts(
    encoder: LanguageEncoder | WordVectors,
    texts: Sequence[str],
    *,
    template: str = "{caption}",
    batch_size: int | None = None,
    advance: Callable[[int], None] = ignored,
) -> list[np.ndarray]:
    """Features of ``texts`` in their order, a list of float32 [texts, width_l] per layer.

    Each text is put into ``template``. The tokenizer is proved on the texts without it, because the words of the
    template would hide how it treats theirs. ``advance`` is called with the number of texts in each finished batch.
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
    """For each sample, a list of its caption number ``which``, or of every caption for "all".

    Raises FeatureError if a sample does not have that caption.
    """
    chosen = []
    for sample_id, captions in zip(shard["sample_id"].to_pylist(), shard["captions"].to_pylist(), strict=True):
        if not captions or (which != "all" and which >= len(captions)):
            raise FeatureError(
                f"sample {sample_id!r} has {len(captions or [])} captions, and caption {which} is asked for; set "
                "'caption' to a number that all samples have."
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
    advance: Callable[[float], None] = ignored,
) -> Iterator[list[np.ndarray]]:
    """For each shard, the features of its captions, averaged over the captions of a sample for "all".

    ``advance`` is called after each batch with the number of samples that it is worth, which may be a fraction.
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
