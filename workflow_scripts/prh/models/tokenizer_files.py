"""Tokenizers of transformers as they were meant: with all of their files, and with the tokens of their SentencePiece.

A library that lacks a tokenizer's files makes one of a few special tokens, without a word. And one that converts a
SentencePiece model to a form of its own can lose what that model does to a text first (transformers 5 leaves out the
normalisation of `tokenizer.model`: double spaces, line breaks and compatibility characters then give other tokens).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.models import companion_files
from prh.models.companion_files import PIECES
from prh.models.repositories import ModelError, first_line

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

OPTIONAL = {"tokenizer_file", "tokenizer_config_file", "target_vocab_file", "normalizer_file"}
"""Files of a tokenizer's class that it can do without."""

PROBES = (
    "A dog runs over the grass.",
    "two children, playing with a red ball",
    "two  spaces   and more",
    " a space before",
    "a space after ",
    "one line\nand another\n\nand one more",
    "a\ttab",
    "café, naïve, über, e\u0301",
    "日本語のテキスト",
    "🙂 fine",
    "x = y_2; print(x)",
    "12345 and 67,890.5",
    "ﬁne ﬁgures ½ ²",
    "non\u00a0breaking\u2009spaces\u200b",
)
"""Texts that tokenizers treat in different ways."""
PLAIN = PROBES[1:2]
"""Of these, what a tokenizer that folds case, accents or punctuation leaves as it is."""


def load(folder: Path, name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``, of the model ``name``: that of its class, or of its SentencePiece where they differ.

    Raises ModelError where its files are not there, and where it gives other tokens than its SentencePiece model and
    that model's own cannot take its place.
    """
    from transformers import AutoTokenizer

    companion_files.require_whole(folder)
    with _files_named(folder, name):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    _require_files(tokenizer, folder, name)
    with _files_named(folder, name):
        tokenizer(PROBES[0])  # some faults of a vocabulary show with the first text
    model = next((folder / file for file in PIECES if (folder / file).is_file()), None)
    pieces = None if model is None else _pieces(model)
    if pieces is None or _is_sentencepiece_itself(tokenizer):
        return tokenizer
    folds = _folds(tokenizer)
    texts = PLAIN if folds else PROBES
    different = _different(tokenizer, pieces, texts)
    if not different:
        return tokenizer
    if not folds:
        own = _own_tokenizer(tokenizer, model)
        if not _different(own, pieces, PROBES):
            log.warning(
                "model '%s': %s of transformers gives other tokens than %s for %d of %d texts (such as %r); the tokens "
                "are those of SentencePiece itself.",
                *(name, type(tokenizer).__name__, model, len(different), len(PROBES), different[0]),
            )
            return own
    raise ModelError(
        f"model {name!r}: its tokenizer {type(tokenizer).__name__} gives other tokens than its SentencePiece model "
        f"{model} for {len(different)} of {len(texts)} texts (such as {different[0]!r}), and "
        "neither can be shown to be the one it was trained with; leave the model out."
    )


@contextmanager
def _files_named(folder: Path, name: str) -> Iterator[None]:
    """Make a ModelError of what the parts of transformers raise over files that they do not name."""
    try:
        yield
    except (ValueError, OSError, ImportError, MemoryError):  # sentences of transformers itself
        raise
    except Exception as error:
        raise ModelError(
            f"model {name!r}: no tokenizer can be made of {companion_files.described(folder)} ({first_line(error)}); "
            "fetch them again."
        ) from error


def _require_files(tokenizer: PreTrainedTokenizerBase, folder: Path, name: str) -> None:
    """Raise ModelError for a tokenizer that was made without the files of its vocabulary."""
    is_librarys = type(tokenizer).__module__.startswith("transformers.")
    if not is_librarys or (folder / "tokenizer.json").is_file():
        return
    files = getattr(type(tokenizer), "vocab_files_names", {})
    wanted = [file for kind, file in files.items() if kind not in OPTIONAL] or ["tokenizer.json"]
    missing = [file for file in wanted if not (folder / file).is_file()]
    has_pieces = any((folder / file).is_file() for file in PIECES)
    if not missing or (has_pieces and len(wanted) == 1):  # a class that reads any name of a SentencePiece model
        return
    every = "no tokenizer" if len(missing) == len(wanted) else "half a tokenizer"
    raise ModelError(
        f"model {name!r}: {folder} holds {every}: {', '.join(sorted(missing))} of {type(tokenizer).__name__} is not "
        "there, nor is tokenizer.json; save the tokenizer beside the weights (tokenizer.save_pretrained)."
    )


# ---- SentencePiece --------------------------------------------------------------------------------------------


def _pieces(path: Path) -> SentencePieceProcessor | None:
    """The SentencePiece model of a file; None for a file of that name that is something else (tiktoken's, say)."""
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError):
        return None


def _is_sentencepiece_itself(tokenizer: PreTrainedTokenizerBase) -> bool:
    from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

    return isinstance(tokenizer, SentencePieceBackend)


def _folds(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer changes case, accents or punctuation before its SentencePiece model sees a text."""
    return bool(getattr(tokenizer, "do_lower_case", False)) or getattr(tokenizer, "keep_accents", True) is False


def _different(tokenizer: PreTrainedTokenizerBase, pieces: SentencePieceProcessor, texts: Sequence[str]) -> list[str]:
    """The texts whose tokens are not those of the SentencePiece model."""
    unknown = pieces.id_to_piece(pieces.unk_id())

    def tokens(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])

    def expected(text: str) -> list[str]:
        found = map(pieces.id_to_piece, pieces.encode(text))
        return [tokenizer.unk_token if piece == unknown else piece for piece in found]

    return [text for text in texts if tokens(text) != expected(text)]


def _own_tokenizer(tokenizer: PreTrainedTokenizerBase, path: Path) -> PreTrainedTokenizerBase:
    """A tokenizer that asks the SentencePiece model ``path``, with the ids and special tokens of ``tokenizer``."""
    special = {key: value for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    bare, dressed = (tokenizer("a", add_special_tokens=with_them)["input_ids"] for with_them in (False, True))
    start = next((i for i in range(len(dressed)) if dressed[i : i + len(bare)] == bare), 0)
    return _class()(
        vocab_file=str(path),
        ids=tokenizer.get_vocab(),
        before=dressed[:start],
        after=dressed[start + len(bare) :],
        added_tokens_decoder=dict(tokenizer.added_tokens_decoder),
        model_max_length=tokenizer.model_max_length,
        **special,
    )


def _class() -> type:
    """The class of `_own_tokenizer`: made here, since transformers takes seconds to import."""
    from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

    class SentencePieceTokenizer(SentencePieceBackend):
        """Tokens of a SentencePiece model, ids of another tokenizer of the same vocabulary."""

        def __init__(
            self, vocab_file: str, ids: dict[str, int], before: list[int], after: list[int], **settings: Any
        ) -> None:
            self._ids, self._names = ids, {number: token for token, number in ids.items()}
            self._before, self._after = before, after
            super().__init__(vocab_file=vocab_file, legacy=True, **settings)

        @property
        def vocab_size(self) -> int:
            return len(self._ids)

        def __len__(self) -> int:
            return max(self._ids.values()) + 1

        def get_vocab(self) -> dict[str, int]:
            return dict(self._ids)

        def _convert_token_to_id(self, token: str) -> int:
            return self._ids.get(token, self._ids.get(str(self.unk_token)))

        def _convert_id_to_token(self, index: int) -> str:
            return self._names.get(index, str(self.unk_token))

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return self.sp_model.decode_pieces(list(tokens))

        def build_inputs_with_special_tokens(self, first: list[int], second: list[int] | None = None) -> list[int]:
            return [*self._before, *first, *(second or []), *self._after]

        def get_special_tokens_mask(
            self, first: list[int], second: list[int] | None = None, already_has_special_tokens: bool = False
        ) -> list[int]:
            if already_has_special_tokens:
                return super().get_special_tokens_mask(first, second, already_has_special_tokens=True)
            return [1] * len(self._before) + [0] * len([*first, *(second or [])]) + [1] * len(self._after)

    return SentencePieceTokenizer
