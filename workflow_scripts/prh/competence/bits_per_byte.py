"""How well a language model predicts text: bits per byte.

Bits per byte divides by the bytes of the original text, not by tokens, so that models with different tokenisers can be
compared. The context of each token must then be comparable too. The rule here, for every model:

- text is cut into tokens without the tokeniser's own special tokens;
- each window begins with one prefix token, the tokeniser's BOS, else its EOS (the choice of lm-eval), which is never
  scored: the first real token of a document is predicted from it, and models trained with BOS always see one;
- with a tokeniser that has neither, the first token that a window scores without anything before it is scored against
  the uniform distribution over the vocabulary.

So every token, and with it every byte, is scored exactly once.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prh.competence import causal_models, scores
from prh.competence.causal_models import fitting_batch
from prh.competence.scores import Scored
from prh.jobs.about import about
from prh.jobs.progress import Progress
from prh.modalities import language
from prh.models import memory, tokenizer_files, tokenizer_proofs

if TYPE_CHECKING:
    from prh.experiment.schema import LanguageModel, Text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BitsPerByte:
    """Bits per byte of a text under a model.

    value: total bits / total bytes. stderr: its standard error, with documents as independent units (NaN for one).
    altered: documents that the tokenizer does not restore exactly (case, accents, unknown characters ...);
    altered_share: the share of the text that is lost (`prh.models.tokenizer_proofs.altered`). Lost text costs the model
    nothing, so the value would be too low to compare; a large share is an error.
    """

    value: float
    stderr: float
    bytes: int
    tokens: int
    documents: int
    altered: int
    altered_share: float


class Window(NamedTuple):
    """Tokens ``start:stop`` of document ``document`` are shown; those from ``scored_from`` on are scored."""

    document: int
    start: int
    scored_from: int
    stop: int


def windows(lengths: Sequence[int], room: int, stride: int) -> Iterator[Window]:
    """Cover documents of ``lengths`` tokens with windows of at most ``room`` tokens, each token scored once.

    The first window of a document scores every token it shows; each later one scores the next ``stride`` tokens and
    shows as many tokens before them as fit.
    """
    for document, length in enumerate(lengths):
        scored_from, stop = 0, min(room, length)
        while scored_from < length:
            yield Window(document, max(stop - room, 0), scored_from, stop)
            scored_from, stop = stop, min(stop + stride, length)


def bits_per_byte(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str | Iterable[str],
    *,
    window: int = 1024,
    stride: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    name: str = "",
) -> BitsPerByte:
    """Bits per byte (UTF-8) of ``text``, one document or several, under a causal language model.

    window: tokens the model sees at once, the prefix token included. stride: tokens scored by each window after a
    document's first (window // 2 by default); the smaller, the more context and the more work.
    batch_size: windows in a batch, halved when memory runs out (None: what `fitting_batch` says). The value does not
    depend on it: windows are padded on the right, which a causal model never sees. name: of the model, for messages.

    Raises ValueError for text without bytes, a window beyond what the model can see, a model that returns NaN, and a
    tokenizer that does not know the text, or does not give it back (`prh.models.tokenizer_proofs`).
    """
    documents = [text] if isinstance(text, str) else list(text)
    sizes = [len(document.encode("utf-8")) for document in documents]
    if not sum(sizes):
        raise ValueError("The text to score is empty; give at least one document with text.")
    prefix = _prefix(tokenizer)
    room = window - len(prefix)
    stride = max(window // 2, 1) if stride is None else stride
    size = fitting_batch(model, window) if batch_size is None else batch_size
    _check_window(model, window, stride, room, size)

    ids = tokenizer_files.tokenize(tokenizer, documents)
    _refuse_unknown_ids(model, prefix, documents, ids)
    report = tokenizer_proofs.prove(tokenizer, documents, ids, name)
    altered, altered_share = _altered(tokenizer, documents, ids, name)
    log.info("tokenizer: %s, %.2f%% of the characters altered", report.in_words(), 100 * altered_share)
    # longest first: windows of a batch have similar lengths, and too large a batch fails at once, not after hours
    todo = sorted(windows([len(d) for d in ids], room, stride), key=lambda w: w.start - w.stop)
    bits = [0.0] * len(documents)
    with Progress("bits per byte", len(todo), "windows", shown=progress) as bar:
        done = 0
        while done < len(todo):
            batch = todo[done : done + size]
            with about(f"a batch from document {batch[0].document} on, {documents[batch[0].document][:40]!r}"):
                nats, size = memory.halving(
                    lambda size, batch=batch: list(_window_nats(model, ids, batch[:size], prefix, model.device)), size
                )
            for piece, lost in zip(batch[: len(nats)], nats, strict=True):
                bits[piece.document] += lost / math.log(2)
            done += len(nats)
            bar.advance(len(nats))
    if not math.isfinite(sum(bits)):
        raise ValueError("The model gives NaN or infinity on this text; load it in bfloat16 or float32, not float16.")
    return BitsPerByte(
        value=sum(bits) / sum(sizes),
        stderr=_ratio_stderr(bits, sizes),
        bytes=sum(sizes),
        tokens=sum(map(len, ids)),
        documents=len(documents),
        altered=altered,
        altered_share=altered_share,
    )


def score_text(
    entry: LanguageModel,
    root: str | Path | None,
    text: Text,
    documents: Sequence[str],
    *,
    device: str = "cpu",
    batch_size: int | None = None,
) -> Scored:
    """Bits per byte of the ``documents`` of a text under the model of an entry, with weights from ``root``.

    Parameters
    ----------
    entry : prh.experiment.schema.LanguageModel
        The model.
    root : path or None
        Where its weights lie; None for random ones.
    text : prh.experiment.schema.Text
        Name of the text, and window and stride; the window is no longer than what the model sees.
    documents : sequence of str
        The text.
    device : str
        Where the model computes.
    batch_size : int, optional
        Windows in a batch; by default as many as fit.

    Returns
    -------
    Scored
        No row for a model that turns out not to be causal, unless its entry says that it is.

    Raises
    ------
    ValueError, ModelError, NotCausal
        See `bits_per_byte` and `prh.competence.causal_models.load_causal`.
    """
    try:
        loaded = causal_models.load_causal(entry, root, device, texts=documents)
    except causal_models.NotCausal as error:
        return scores.not_scored(causal_models.reason_not_scored(error, entry))
    window = min(text.window, language.longest_text(loaded.model) or text.window)
    with about(f"model {entry.name!r}"):
        bits = bits_per_byte(
            loaded.model,
            loaded.tokenizer,
            documents,
            window=window,
            stride=text.stride,
            batch_size=loaded.batch_size(batch_size),
            progress=True,
            name=entry.name,
        )
    log.info("%s on %s: %s", entry.name, text.name, bits)
    row = {
        "model": entry.name,
        "task": text.name,
        "metric": "bits_per_byte",
        "value": bits.value,
        "stderr": bits.stderr,
        "n": bits.bytes,
        "altered": bits.altered_share,
    }
    return scores.measured(pl.DataFrame([row]), selftest=loaded.selftest.as_footer())


def _prefix(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return [token]
    return []


def _check_window(model: PreTrainedModel, window: int, stride: int, room: int, batch_size: int) -> None:
    longest = language.longest_text(model) or window
    if window > longest:
        raise ValueError(f"A window of {window} tokens is more than the {longest} that this model sees; lower it.")
    if not 1 <= stride <= room:
        raise ValueError(f"The stride must lie between 1 and {room} (what fits a window of {window}), got {stride}.")
    if batch_size < 1:
        raise ValueError(f"The batch size must be at least 1, got {batch_size}.")


def _refuse_unknown_ids(
    model: PreTrainedModel, prefix: Sequence[int], documents: Sequence[str], ids: Sequence[Sequence[int]]
) -> None:
    known = language.vocabulary_size(model)
    for document, tokens in zip(documents, ids, strict=True):
        if known is not None and (largest := max([*prefix, *tokens], default=0)) >= known:
            raise ValueError(
                f"The tokeniser gives token {largest} for the document {document[:60]!r} and the model has vectors for "
                f"{known}: it is the tokeniser of another model."
            )


@torch.inference_mode()
def _window_nats(
    model: PreTrainedModel,
    ids: Sequence[Sequence[int]],
    batch: Sequence[Window],
    prefix: Sequence[int],
    device: str | torch.device,
) -> Iterator[float]:
    """Negative log-likelihood in nats of the scored tokens of each window."""
    rows = [[*prefix, *ids[w.document][w.start : w.stop]] for w in batch]
    width = max(map(len, rows))
    filler = prefix[0] if prefix else 0
    tokens = torch.tensor([row + [filler] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
    for row, (piece, length) in enumerate(zip(batch, map(len, rows), strict=True)):
        first = length - (piece.stop - piece.scored_from)
        uniform = math.log(logits.shape[-1]) if first == 0 else 0.0
        first = max(first, 1)
        # one row at a time: float32 copies of a whole batch of logits over a large vocabulary do not fit
        nats = torch.nn.functional.cross_entropy(
            logits[row, first - 1 : length - 1].float(), tokens[row, first:length], reduction="none"
        )
        yield float(nats.double().sum()) + uniform


def _ratio_stderr(bits: Sequence[float], sizes: Sequence[int]) -> float:
    """Standard error of sum(bits) / sum(sizes), documents being drawn independently (ratio estimator)."""
    n = len(bits)
    if n < 2:
        return math.nan
    value = sum(bits) / sum(sizes)
    squares = sum((b - value * s) ** 2 for b, s in zip(bits, sizes, strict=True))
    return math.sqrt(n / (n - 1) * squares) / sum(sizes)


def _altered(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], ids: Sequence[Sequence[int]], name: str
) -> tuple[int, float]:
    """How many documents do not decode to themselves (apart from spaces at the ends), and the share of characters that
    is lost; warns with an example. Raises ModelError where the share is too large.
    """
    decoded = [
        tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False) for tokens in ids
    ]
    changed = [
        (before.strip()[:60], after.strip()[:60])
        for before, after in zip(documents, decoded, strict=True)
        if before.strip() != after.strip()
    ]
    share = tokenizer_proofs.altered(documents, decoded)
    if changed:
        before, after = changed[0]
        warnings.warn(
            f"The tokenizer alters {len(changed)} of {len(documents)} documents ({share:.2%} of the characters), so "
            f"bits per byte may be a little low: {before!r} becomes {after!r}.",
            stacklevel=3,
        )
        tokenizer_proofs.require_unaltered(share, tokenizer, changed[0], name)
    return len(changed), share
