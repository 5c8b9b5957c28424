"""SentencePiece itself as a transformers tokenizer, for models whose converted fast tokenizer gives other ids.

transformers 5 converts a SentencePiece model into a tokenizer of the `tokenizers` library and loses parts of it: the
normalisation that merges spaces (OpenLLaMA), the space that is put in front of a text (any `tokenizer.model` without
its own class), and mappings of characters (mBART, DeBERTa-v2). The language model was trained on the ids of
SentencePiece, so those are the right ones.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import sentencepiece
from transformers.tokenization_utils_base import AddedToken, PreTrainedTokenizerBase
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from prh.models import special_tokens
from prh.models.repositories import ModelError

SPACE = "▁"
"""The character that SentencePiece writes for a space."""


class Pieces(NamedTuple):
    """The pieces of a SentencePiece model and their ids in the language model.

    cut: splits a text into pieces. ids: the id of each piece that can occur in a text. unknown: the id for everything
    else, whose piece is called ``unknown_piece``.
    """

    cut: Callable[[str], list[str]]
    ids: Mapping[str, int]
    unknown: int
    unknown_piece: str

    def of(self, text: str) -> list[int]:
        """The ids of a text."""
        return [self.ids.get(piece, self.unknown) for piece in self.cut(text)]


class SentencePieceTokenizer(SentencePieceBackend):
    """Splits text with the SentencePiece model in ``vocab_file``; everything else is taken from ``converted``.

    pieces: the pieces of the model and their ids. converted: the transformers tokenizer whose special tokens and their
    ids are kept. ends: the special tokens before and after a text.
    """

    def __init__(
        self,
        vocab_file: str | Path,
        pieces: Pieces,
        converted: PreTrainedTokenizerBase,
        ends: special_tokens.Ends,
    ) -> None:
        self._known, self._ends = pieces, ends
        self._pieces = {number: piece for piece, number in pieces.ids.items()} | {pieces.unknown: pieces.unknown_piece}
        named = special_tokens.named(converted) | {"unk_token": pieces.unknown_piece}
        # user-defined symbols of the model are not special tokens: SentencePiece itself finds them in the text
        added = {
            number: AddedToken(token.content, special=True, normalized=False)
            for number, token in converted.added_tokens_decoder.items()
            if token.content in named.values() or number not in self._pieces
        }
        super().__init__(
            vocab_file=str(vocab_file),
            legacy=True,  # leave the leading space to SentencePiece
            added_tokens_decoder=added,
            padding_side=converted.padding_side,
            model_max_length=converted.model_max_length,
            chat_template=converted.chat_template,
            clean_up_tokenization_spaces=False,
            **named,
        )
        self.model_input_names = list(converted.model_input_names)

    @property
    def vocab_size(self) -> int:
        """The number of pieces that have an id."""
        return len(self._pieces)

    def __len__(self) -> int:
        """One more than the largest id."""
        return max([*self._pieces, *self._added_tokens_decoder]) + 1

    def get_vocab(self) -> dict[str, int]:
        """The id of each piece and added token."""
        return {piece: number for number, piece in self._pieces.items()} | self.added_tokens_encoder

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return self._known.cut(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self._known.ids.get(token, self._known.unknown)

    def _convert_id_to_token(self, index: int) -> str:
        return self._pieces.get(index, self._known.unknown_piece)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of pieces; byte pieces of one character are joined."""
        return self.sp_model.decode(tokens)

    def _decode(self, token_ids: int | Sequence[int], skip_special_tokens: bool = False, **_: object) -> str:
        special, parts, started = set(self.all_special_ids), [], False
        numbers = [token_ids] if isinstance(token_ids, int) else token_ids
        for is_added, run in groupby(numbers, lambda number: number in special or number in self._added_tokens_decoder):
            if is_added:
                tokens = list(run)
                started = started or self._known.unknown in tokens
                shown = [number for number in tokens if not (skip_special_tokens and number in special)]
                parts += self.convert_ids_to_tokens(shown)
            else:
                parts.append(self._text([self._convert_id_to_token(number) for number in run], started))
                started = True
        return "".join(parts)

    def _text(self, pieces: list[str], within: bool) -> str:
        """The text of pieces. SentencePiece drops a leading space, which belongs to the text if ``within`` one."""
        space = " " if within and pieces[0].startswith(SPACE) else ""
        return space + self.sp_model.decode(pieces).removeprefix(space)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of one text, or of two, with the special tokens around them."""
        second = [] if token_ids_1 is None else [*self._ends.before, *token_ids_1, *self._ends.after]
        return [*self._ends.before, *token_ids_0, *self._ends.after, *second]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each special token of what `build_inputs_with_special_tokens` makes, 0 for each other token."""
        if already_has_special_tokens:
            special = set(self.all_special_ids)
            return [int(number in special) for number in token_ids_0]
        before, after = ([1] * len(end) for end in self._ends)
        second = [] if token_ids_1 is None else [*before, *([0] * len(token_ids_1)), *after]
        return [*before, *([0] * len(token_ids_0)), *after, *second]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for each token, since such models take a single text."""
        return [0] * len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))


def known_pieces(
    processor: sentencepiece.SentencePieceProcessor,
    tokenizer: PreTrainedTokenizerBase,
    kind: str,
    settings: Mapping[str, object],
) -> Pieces | None:
    """The pieces of a SentencePiece model with their ids in the vocabulary of its converted tokenizer.

    kind: the class of the tokenizer. settings: the content of tokenizer_config.json. The ids are SentencePiece's own,
    or shifted by one offset (XLM-RoBERTa: 1, Pegasus: 103). Returns None if they are neither, because the vocabulary
    then belongs to another model.
    """
    vocabulary, ids = tokenizer.get_vocab(), {}
    for number in range(processor.get_piece_size()):
        # control, unknown and unused pieces never occur in a text
        silent = processor.is_control(number) or processor.is_unknown(number) or processor.is_unused(number)
        piece = processor.id_to_piece(number)
        if not silent:
            if piece not in vocabulary:
                return None
            ids[piece] = vocabulary[piece]
    if len({number - processor.piece_to_id(piece) for piece, number in ids.items()}) != 1:
        return None
    names = (processor.id_to_piece(processor.unk_id()), tokenizer.unk_token)  # transformers may add another one
    name = next((name for name in names if name in vocabulary), None)
    return None if name is None else Pieces(cutting(processor, kind, settings), ids, vocabulary[name], name)


def own_texts(processor: sentencepiece.SentencePieceProcessor, count: int = 200, length: int = 8) -> list[str]:
    """Texts made of the model's own pieces, drawn with a fixed seed, and short texts around each of its symbols."""
    usable = [
        processor.id_to_piece(number).replace(SPACE, " ")
        for number in range(processor.get_piece_size())
        if not (processor.is_control(number) or processor.is_unknown(number) or processor.is_byte(number))
    ]
    draw = random.Random(0)
    drawn = ["".join(draw.choices(usable, k=length)) for _ in range(count)] if usable else []
    symbols = [piece for piece in usable if not piece.strip() or not piece.strip().isalnum()]
    return [*drawn, *(f"a{symbol}b {symbol}" for symbol in symbols[:count])]


def read(path: Path) -> sentencepiece.SentencePieceProcessor | None:
    """The SentencePiece model at ``path``; None if the file is something else, such as tiktoken ranks."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except RuntimeError:
        return None


FOLDING = {"AlbertTokenizer": (True, False), "XLNetTokenizer": (False, False), "FNetTokenizer": (False, True)}
"""Classes that change a text before SentencePiece sees it: whether they lower-case it and whether they keep accents,
unless tokenizer_config.json says otherwise."""


def cutting(
    processor: sentencepiece.SentencePieceProcessor, kind: str, settings: Mapping[str, object]
) -> Callable[[str], list[str]]:
    """How the authors' own code splits a text into pieces, for a tokenizer of the class ``kind``.

    Most hand the text to SentencePiece unchanged. ALBERT, FNet and XLNet first merge white space, unify quotes and may
    drop accents and case; afterwards they split a comma from the digits before it (`preprocess_text` and
    `encode_pieces` of google-research/albert). DeBERTa-v2 may drop case. Raises ModelError for split_by_punct, which no
    known model uses.
    """
    if kind in FOLDING:
        lower, accents = FOLDING[kind]
        return partial(
            _as_albert,
            processor,
            lower=settings.get("do_lower_case", lower),
            accents=settings.get("keep_accents", accents),
            merged=settings.get("remove_space", True),
        )
    if settings.get("split_by_punct"):
        raise ModelError(f"{kind}: split_by_punct in tokenizer_config.json is not supported; leave the model out.")
    return partial(_as_it_is, processor, lower=kind == "DebertaV2Tokenizer" and settings.get("do_lower_case", False))


def _as_it_is(processor: sentencepiece.SentencePieceProcessor, text: str, *, lower: bool) -> list[str]:
    return processor.encode(text.lower() if lower else text, out_type=str)


def _as_albert(
    processor: sentencepiece.SentencePieceProcessor, text: str, *, lower: bool, accents: bool, merged: bool
) -> list[str]:
    text = " ".join(text.split()) if merged else text
    text = text.replace("``", '"').replace("''", '"')
    if not accents:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    pieces = processor.encode(text.lower() if lower else text, out_type=str)
    return [part for piece in pieces for part in _without_comma(processor, piece)]


def _without_comma(processor: sentencepiece.SentencePieceProcessor, piece: str) -> list[str]:
    """A piece that ends in a digit and a comma, split before the comma; any other piece unchanged."""
    if not (len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()):
        return [piece]
    digits = processor.encode(piece[:-1].replace(SPACE, ""), out_type=str)
    if piece[0] != SPACE and digits[0][0] == SPACE:
        digits = digits[1:] if digits[0] == SPACE else [digits[0][1:], *digits[1:]]
    return [*digits, ","]
