"""SentencePiece itself as a tokenizer of transformers, for models whose converted fast tokenizer gives other ids.

transformers 5 turns a SentencePiece model into a tokenizer of the `tokenizers` library and loses parts of it: the
normalisation that merges spaces (OpenLLaMA), the space put in front of a text (any `tokenizer.model` without its own
class), characters that the model maps to others (mBART, DeBERTa-v2). A language model was trained on the ids of
SentencePiece, so those are the true ones.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import sentencepiece
from transformers.tokenization_utils_base import AddedToken, PreTrainedTokenizerBase
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from prh.models.repositories import ModelError
from prh.models.tokenizer_files import NAMED

SPACE = "▁"
"""How SentencePiece writes a space."""


class SentencePieceTokenizer(SentencePieceBackend):
    """Cuts text with the SentencePiece model ``vocab_file``; everything else is as in ``converted``.

    converted: the tokenizer of transformers whose special tokens and their ids are kept. ids: the id of each piece, as
    in `piece_ids`. cut: how a text becomes pieces, as in `cutting`. around: ids of the special tokens before and after.
    """

    def __init__(
        self,
        vocab_file: str | Path,
        converted: PreTrainedTokenizerBase,
        ids: Mapping[str, int],
        cut: Callable[[str], list[str]],
        around: tuple[Sequence[int], Sequence[int]],
    ) -> None:
        self._ids, self._cut = dict(ids), cut
        self._pieces = {number: piece for piece, number in self._ids.items()}
        self._before, self._after = around
        named = {name: token for name in NAMED if (token := getattr(converted, name, None)) is not None}
        # user-defined symbols of the model are no special tokens: SentencePiece finds them in the text itself
        added = {
            number: AddedToken(token.content, special=True, normalized=False)
            for number, token in converted.added_tokens_decoder.items()
            if token.content in named.values() or number not in self._pieces
        }
        super().__init__(
            vocab_file=str(vocab_file),
            legacy=True,  # SentencePiece's own handling of the space in front
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
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        """The id of each piece and added token."""
        return self._ids | self.added_tokens_encoder

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return self._cut(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, self.unk_token_id)

    def _convert_id_to_token(self, index: int) -> str:
        return self._pieces.get(index, self.unk_token)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of pieces; bytes of one character are put together."""
        return self.sp_model.decode(tokens)

    def _decode(self, token_ids: int | Sequence[int], skip_special_tokens: bool = False, **_: object) -> str:
        special, parts, pieces = set(self.all_special_ids), [], []
        for number in [token_ids] if isinstance(token_ids, int) else token_ids:
            if number in special or number in self._added_tokens_decoder:
                parts += [self.sp_model.decode(pieces)] if pieces else []
                parts += [] if skip_special_tokens and number in special else [self.convert_ids_to_tokens(number)]
                pieces = []
            else:
                pieces.append(self._convert_id_to_token(number))
        return "".join([*parts, self.sp_model.decode(pieces) if pieces else ""])

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Ids of one text, or of two, with the special tokens around them."""
        second = [] if token_ids_1 is None else [*self._before, *token_ids_1, *self._after]
        return [*self._before, *token_ids_0, *self._after, *second]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each special token of what `build_inputs_with_special_tokens` makes, 0 for each other token."""
        if already_has_special_tokens:
            special = set(self.all_special_ids)
            return [int(number in special) for number in token_ids_0]
        before, after = [1] * len(self._before), [1] * len(self._after)
        second = [] if token_ids_1 is None else [*before, *([0] * len(token_ids_1)), *after]
        return [*before, *([0] * len(token_ids_0)), *after, *second]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for each token: such models see one text."""
        return [0] * len(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))


BOS_FIRST = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
BOS_MODELS = ("llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text")
"""Classes, and models where no class is named, that put BOS before a text unless tokenizer_config.json says otherwise;
transformers 5 forgets it where there is no tokenizer.json."""


def puts_bos_first(settings: Mapping[str, object], model_type: str | None) -> bool:
    """Whether a model without tokenizer.json has BOS before its texts because nothing says that it has not.

    settings: the content of tokenizer_config.json. model_type: of config.json.
    """
    kind = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    return settings.get("add_bos_token") is None and (kind in BOS_FIRST if kind else model_type in BOS_MODELS)


def special_tokens_around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and after a text."""
    bare = tokenizer("a b", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a b")["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    raise ModelError(f"{type(tokenizer).__name__} gives a text other ids beside its special tokens than alone.")


def piece_ids(
    processor: sentencepiece.SentencePieceProcessor, tokenizer: PreTrainedTokenizerBase
) -> dict[str, int] | None:
    """The id of each piece of a SentencePiece model in the vocabulary of its converted tokenizer.

    They are SentencePiece's own numbers, or all moved on by the same offset (XLM-RoBERTa: 1, Pegasus: 103). None where
    they are neither: the vocabulary belongs to another model then. Control and unknown pieces are left out, since no
    text becomes one, and unused ones.
    """
    vocabulary, ids = tokenizer.get_vocab(), {}
    for number in range(processor.get_piece_size()):
        silent = processor.is_control(number) or processor.is_unknown(number) or processor.is_unused(number)
        piece = processor.id_to_piece(number)
        if not silent:
            if piece not in vocabulary:
                return None
            ids[piece] = vocabulary[piece]
    offsets = {number - processor.piece_to_id(piece) for piece, number in ids.items()}
    return ids if len(offsets) == 1 else None


def own_texts(processor: sentencepiece.SentencePieceProcessor, count: int = 200, length: int = 8) -> list[str]:
    """Texts made of the model's own pieces, drawn at random with a fixed seed, and each of its symbols in a text."""
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
    """The SentencePiece model at ``path``; None where the file is something else, such as ranks of tiktoken."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except RuntimeError:
        return None


def cutting(
    processor: sentencepiece.SentencePieceProcessor, tokenizer: PreTrainedTokenizerBase
) -> Callable[[str], list[str]]:
    """How the authors' own code cuts a text into pieces, by the class of the tokenizer.

    Most hand the text to SentencePiece as it is. ALBERT, FNet and XLNet first merge white space, write quotes alike and
    may drop accents and case, and then cut a comma from the digits before it (`preprocess_text` and `encode_pieces` of
    google-research/albert); DeBERTa-v2 may drop case.
    """
    kind, lower = type(tokenizer).__name__, getattr(tokenizer, "do_lower_case", False)
    if kind in ("AlbertTokenizer", "FNetTokenizer", "XLNetTokenizer"):
        accents, merged = getattr(tokenizer, "keep_accents", False), getattr(tokenizer, "remove_space", True)
        return partial(_as_albert, processor, lower=lower, accents=accents, merged=merged)
    return partial(_as_it_is, processor, lower=kind == "DebertaV2Tokenizer" and lower)


def _as_it_is(processor: sentencepiece.SentencePieceProcessor, text: str, *, lower: bool) -> list[str]:
    return processor.encode(text.lower() if lower else text, out_type=str)


def _as_albert(
    processor: sentencepiece.SentencePieceProcessor, text: str, *, lower: bool, accents: bool, merged: bool
) -> list[str]:
    text = " ".join(text.split()) if merged else text
    text = text.replace("``", '"').replace("''", '"')
    if not accents:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    pieces: list[str] = []
    for piece in processor.encode(text.lower() if lower else text, out_type=str):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            digits = processor.encode(piece[:-1].replace(SPACE, ""), out_type=str)
            if piece[0] != SPACE and digits[0][0] == SPACE:
                digits = digits[1:] if digits[0] == SPACE else [digits[0][1:], *digits[1:]]
            pieces += [*digits, ","]
        else:
            pieces.append(piece)
    return pieces
