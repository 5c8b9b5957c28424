"""What a tokenizer has to prove on the texts of an experiment: it knows them, tells them apart and decodes them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prh.models.repositories import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN = 0.1
"""Largest share of tokens that may be unknown. For captions in the model's language it is below 0.01."""
DISTINCT = 0.9
"""Smallest share of different texts that must give different tokens. Folding case and accents merges very few."""
FEW = 20
"""With fewer different texts, the share of distinct ones says nothing."""
ALTERED = 0.02
"""Largest share of characters that a scored text may lose when it is tokenized and decoded, since what is lost costs no
bits. A tokenizer that turns line breaks into spaces loses less than 0.01, one that lower-cases 0.03."""


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer makes of some texts.

    texts, tokens : how many there are.
    unknown : share of the tokens that are the unknown token.
    distinct : share of the different texts that have tokens of their own.
    """

    texts: int
    tokens: int
    unknown: float
    distinct: float

    def in_words(self) -> str:
        """The report for a log and a footer."""
        return f"{self.texts} texts, {self.tokens} tokens, {self.unknown:.2%} unknown, {self.distinct:.1%} distinct"


def prove(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], ids: Sequence[Sequence[int]], name: str
) -> TokenizerReport:
    """Prove that the tokenizer of the model ``name`` knows ``texts`` and tells them apart.

    ids: the tokens of each text. Raises ModelError if a text gives no token, if more than a share of `UNKNOWN` of the
    tokens are unknown, or if less than a share of `DISTINCT` of the different texts have tokens of their own.
    """
    for text, tokens in zip(texts, ids, strict=True):
        if text.strip() and not len(tokens):
            raise ModelError(f"model {name!r}: its tokenizer gives no token for the text {text[:60]!r}.")
    unknown_id = getattr(tokenizer, "unk_token_id", None)
    flat = Counter(int(token) for tokens in ids for token in tokens)
    total = flat.total()
    # GPT-2 uses one token as BOS, EOS and unknown
    ends = [getattr(tokenizer, f"{end}_token_id", None) for end in ("bos", "eos")]
    unknown = flat[unknown_id] / total if total and unknown_id not in (None, *ends) else 0.0
    different = {_folded(text): tuple(map(int, tokens)) for text, tokens in zip(texts, ids, strict=True)}
    distinct = len(set(different.values())) / len(different) if different else 1.0
    report = TokenizerReport(len(texts), total, unknown, distinct)
    if unknown > UNKNOWN:
        raise ModelError(
            f"model {name!r}: {unknown:.0%} of the tokens of {len(texts)} texts are unknown to its tokenizer "
            f"{type(tokenizer).__name__}; it is not the model's, or the texts are not of its language."
        )
    if distinct < DISTINCT and len(different) >= FEW:
        raise ModelError(
            f"model {name!r}: its tokenizer {type(tokenizer).__name__} gives the same tokens for different texts: "
            f"{len(set(different.values()))} kinds for {len(different)} texts; it is not the model's."
        )
    return report


def _folded(text: str) -> str:
    """A text without what a tokenizer may rightly ignore: case, accents and repeated spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(letter for letter in plain if not unicodedata.combining(letter)).split())


def altered(before: Sequence[str], after: Sequence[str]) -> float:
    """The share of characters that a round trip changes, from 0 to 1; spaces at the ends of a text do not count.

    Characters are counted regardless of their order, and a replaced character counts once.
    """
    changed = total = 0
    for text, again in zip(before, after, strict=True):
        first, second = Counter(text.strip()), Counter(again.strip())
        changed += max((first - second).total(), (second - first).total())
        total += first.total()
    return min(changed / total, 1.0) if total else 0.0


def require_unaltered(share: float, tokenizer: PreTrainedTokenizerBase, example: tuple[str, str], name: str) -> None:
    """Raise ModelError if ``share``, from `altered`, is above `ALTERED`; ``example``: a text before and after."""
    if share > ALTERED:
        raise ModelError(
            f"model {name!r}: its tokenizer {type(tokenizer).__name__} alters {share:.1%} of the characters of the "
            f"text, so its bits per byte would be too low ({example[0]!r} becomes {example[1]!r}); score it on "
            "text that it preserves, or set causal: false."
        )
