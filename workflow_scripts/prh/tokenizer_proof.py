"""What a tokenizer makes of the texts that are read: a proof that they reach the model whole, or one sentence.

    unknown     tokens that stand for "unknown", of all
    collapsed   texts that become the same ids as a text with other letters
    altered     documents that are not given back as they were, spaces at the ends aside
    lost        characters that are not given back, of all; white space counts once, and letters that Unicode calls
                compatible (NFKC) are alike

Features need the first two: an uncased tokenizer, or one that has no line breaks, is a choice of its model. Bits per
byte need `lost` besides, since lost text costs a model nothing while its bytes are counted.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from transformers import PreTrainedTokenizerBase

from prh.models import ModelError

UNKNOWN = 0.1
"""Unknown tokens that are let through: rare letters in captions are below 0.01, an empty vocabulary is at 1."""
COLLAPSED = 0.02
"""Texts that may share their ids with another one: two that differ in one unknown letter only."""
LOST = 0.005
"""Characters that may be lost where text is scored: bits per byte are too low by about this share. English written in
lower case loses 0.02 and more, a tokenizer without a few rare letters less than 0.001."""
SPACES = 0.5
"""Texts that may become the same ids without the spaces between their words: those of one word made of letters."""


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer made of ``texts`` texts; shares lie between 0 and 1 and are explained at the top.

    altered and lost are None where the texts were read for features.
    """

    tokenizer: str
    texts: int
    tokens: int
    unknown: float
    collapsed: float
    altered: float | None = None
    lost: float | None = None

    def __str__(self) -> str:
        shares = {"unknown": self.unknown, "collapsed": self.collapsed, "altered": self.altered, "lost": self.lost}
        told = ", ".join(f"{name} {share:.2%}" for name, share in shares.items() if share is not None)
        return f"{self.tokenizer}: {self.tokens:,} tokens of {self.texts:,} texts, {told}"

    def footer(self) -> dict[str, object]:
        """The same for the footer of a table."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def prove_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    *,
    scored: bool,
    vocabulary: int | None = None,
) -> TokenizerReport:
    """Prove that ``texts`` reach a model through the ``ids`` that its tokenizer made of them, special tokens left out.

    scored: the texts are documents of which each byte counts. vocabulary: rows of the model's embeddings.
    Raises ModelError, which names an example, where a text with letters gives no token, an id has no embedding, or a
    share is above its bound: UNKNOWN, COLLAPSED, SPACES and, if ``scored``, LOST.
    """
    name = type(tokenizer).__name__
    _check_each_has_tokens(name, texts, ids)
    if vocabulary is not None:
        check_ids(name, ids, vocabulary)
    tokens = sum(map(len, ids))
    unknown = _unknown(tokenizer, texts, ids, tokens)
    collapsed = _collapsed(name, texts, ids)
    _check_spaces(tokenizer, texts, ids)
    altered, lost = _given_back(tokenizer, texts, ids) if scored else (None, None)
    return TokenizerReport(name, len(texts), tokens, unknown, collapsed, altered, lost)


def check_ids(name: str, ids: Sequence[Sequence[int]], vocabulary: int) -> None:
    """Raise ModelError if an id has no row among the ``vocabulary`` rows of the model's embeddings."""
    largest = max((max(row) for row in ids if len(row)), default=0)
    if largest >= vocabulary:
        raise ModelError(
            f"{name} gives the id {largest:,} and the model embeds {vocabulary:,} tokens only; the tokenizer is "
            "another model's, or it had tokens added and the embeddings were not enlarged."
        )


def _check_each_has_tokens(name: str, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    empty = [text for text, row in zip(texts, ids, strict=True) if not len(row) and text.strip()]
    if empty:
        raise ModelError(
            f"{name} gives no token for {len(empty):,} of {len(texts):,} texts, such as {_shown(empty[0])}; the "
            "model's tokenizer files are missing, or it does not know this script."
        )


def _unknown(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], ids: Sequence[Sequence[int]], tokens: int
) -> float:
    """The share of unknown tokens; the token of GPT-2, which is its end of text too, appears in no text."""
    counts = [list(row).count(tokenizer.unk_token_id) for row in ids]
    share = sum(counts) / max(tokens, 1)
    if share > UNKNOWN:
        worst = max(range(len(texts)), key=lambda i: counts[i] / max(len(ids[i]), 1))
        raise ModelError(
            f"{type(tokenizer).__name__} knows too little of the texts: {share:.0%} of {tokens:,} tokens are unknown "
            f"(at most {UNKNOWN:.0%} may be), such as in {_shown(texts[worst])}; the model's tokenizer files are "
            "missing, or it was not made for this language."
        )
    return share


def _collapsed(name: str, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> float:
    """The share of texts with the ids of a text that has other letters."""
    spelled: dict[tuple[int, ...], set[str]] = defaultdict(set)
    for text, row in zip(texts, ids, strict=True):
        spelled[tuple(row)].add(_letters(text))
    distinct = {_letters(text) for text in texts}
    alike = sum(len(group) for group in spelled.values() if len(group) > 1)
    share = alike / max(len(distinct), 1)
    if alike > max(2, COLLAPSED * len(distinct)) or alike == len(distinct) > 1:
        group = sorted(max(spelled.values(), key=len))
        raise ModelError(
            f"{name} gives {share:.0%} of {len(distinct):,} different texts the ids of another one (at most "
            f"{COLLAPSED:.0%} may be), such as {_shown(group[0])} and {_shown(group[1])}; the model's tokenizer files "
            "are missing, or it was not made for this language."
        )
    return share


def _check_spaces(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    """Words must not run together: a tokenizer with the wrong kind of space in its vocabulary drops them all."""
    spaced = [i for i, text in enumerate(texts) if len(text) < 1000 and _has_words(text)][:100]
    if len(spaced) < 5:
        return
    joined = tokenizer(["".join(texts[i].split()) for i in spaced], add_special_tokens=False)["input_ids"]
    alike = [i for i, row in zip(spaced, joined, strict=True) if list(row) == list(ids[i])]
    if len(alike) > SPACES * len(spaced):
        raise ModelError(
            f"{type(tokenizer).__name__} drops the spaces between words: {_shown(texts[alike[0]])} has the same ids "
            "without them; its files belong to another class, correct tokenizer_class in tokenizer_config.json."
        )


def _given_back(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], ids: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """The shares of altered documents and of lost characters."""
    altered, lost, characters, worst = 0, 0, 0, (0.0, "", "")
    for text, row in zip(texts, ids, strict=True):
        decoded = tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        characters += len(text)
        if decoded.strip() == text.strip():
            continue
        altered += 1
        gone = (Counter(_plain(text)) - Counter(_plain(decoded))).total()
        lost += gone
        worst = max(worst, (gone / len(text), text, decoded))
    share = lost / max(characters, 1)
    if share > LOST:
        raise ModelError(
            f"{type(tokenizer).__name__} loses {share:.1%} of the text (at most {LOST:.1%} may be), so bits per byte "
            f"would be too low: {_shown(worst[1])} becomes {_shown(worst[2])}; its files are not the model's, or "
            "the model cannot be scored on this text: leave it out."
        )
    return altered / max(len(texts), 1), share


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _letters(text: str) -> str:
    """A text without what tokenizers may leave out by design: case, accents, white space."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in decomposed if not (unicodedata.combining(c) or c.isspace()))


def _has_words(text: str) -> bool:
    words = text.split()
    return len(words) > 1 and sum(word.isascii() and word.isalpha() for word in words) > 1


def _shown(text: str) -> str:
    return repr(text.strip()[:60])
