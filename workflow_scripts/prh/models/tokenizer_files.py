"""The tokenizer of a language model: its files must be there, and its ids must be those that the model was trained on.

Without the files, transformers silently builds a tokenizer of a few special tokens. With them, transformers 5 rebuilds
many tokenizers from the vocabulary alone and loses the rest: that OpenLLaMA merges spaces, that SmolLM splits digits,
how mBART maps characters. Two sources give the true ids: a SentencePiece model in the folder, run by SentencePiece
itself, or else `tokenizer.json`, run by the `tokenizers` library. The tokenizer of transformers is compared with that
reference. If it differs, `tokenizer.json` as it stands is tried, and then SentencePiece itself
(`prh.models.sentencepiece_tokenizer`).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prh.models import companion_files, saved_tokenizer, special_tokens
from prh.models.repositories import ModelError, first_line

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from transformers import PreTrainedTokenizerBase

    from prh.models.sentencepiece_tokenizer import Pieces

log = logging.getLogger(__name__)

WHOLE = saved_tokenizer.FILE
OPTIONAL = frozenset({"tokenizer_config.json", "normalizer.json", "target_vocab.json", "target.spm"})
"""Files that tokenizer classes name but can do without."""
VOCABULARIES = ("*.model", "*.spm", "*.tiktoken", "tekken.json")
"""Files that may replace the single vocabulary file of a class that has no format of its own."""

PROBES = (
    "",
    "hello world",
    "Hello, World! It's UPPER and lower.",
    "two  spaces and    four",
    " a space in front",
    "  two in front",
    "a space at the end ",
    "\n",
    "line one\nline two",
    "a paragraph\n\nanother\n\n\n  indented",
    "a tab\tand\r\na line of Windows",
    *("a" + " " * count + "b" + "\n" * count + "c" + "\t" * count + "d" for count in (3, 5, 8, 13, 21, 34)),
    "café naïve Zürich œuvre",
    "cafe\u0301 in two code points",
    "北京 東京 서울 привет мир مرحبا नमस्ते",
    "a smile 😀 and 👩\u200d🚀",
    "rare \U0001f9ff \u16a0 \u2a0a \U00010348",
    "12,345 in 2015, 3.14 ½ ① ２０",
    "def f(x):\n    return {x: [1, 2]}  # code\n",
    "a ligature ﬁne, a no-break\u00a0space, a zero\u200bwidth one, a line\u2028separator",
    "``quotes'' \"as\" ‘written’ “differently”",
    "an underline ▁under and under_score",
    "<unk> and <s> as text</s>",
    "https://example.org/a?b=c&d=%20",
)
"""Texts on which wrongly converted tokenizers have differed: white space, code points, bytes, digits."""


def _shuffled(texts: Sequence[str], count: int = 300, length: int = 20) -> list[str]:
    """Random strings of the characters of ``texts``, drawn with a fixed seed."""
    draw, letters = random.Random(0), sorted(set("".join(texts)))
    return ["".join(draw.choices(letters, k=draw.randint(1, length))) for _ in range(count)]


SHUFFLED = _shuffled(PROBES)
"""What PROBES lacks: accents on any character, white space anywhere, several unknown characters in a row."""


class Reference(NamedTuple):
    """What the right tokenizer gives.

    name: the file or library that it comes from. ids: a text's ids, without special tokens. ends: the special tokens
    around a text. probes: further texts, made of the vocabulary's own pieces.
    """

    name: str
    ids: Callable[[str], list[int]]
    ends: special_tokens.Ends
    probes: Sequence[str] = ()


def load(
    folder: Path, name: str, *, trust_remote_code: bool = False, texts: Sequence[str] = ()
) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder`` for the model ``name``, proved to give the ids that its files define.

    texts: further texts to compare ids on, besides PROBES, SHUFFLED and texts of its own vocabulary. Raises ModelError
    if files are missing or no tokenizer gives the right ids, and whatever transformers raises if it cannot read them.
    """
    from transformers import AutoTokenizer

    companion_files.require_whole(folder)
    with _files_named(folder, name):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    _require_files(tokenizer, folder, name)
    with _files_named(folder, name):
        tokenizer(PROBES[1])  # some faults in a vocabulary show only on the first text
    return _true_tokenizer(name, folder, tokenizer, texts)


@contextmanager
def _files_named(folder: Path, name: str) -> Iterator[None]:
    """Turn an error that transformers raises without naming a file into a ModelError that names them."""
    try:
        yield
    except (ValueError, OSError, ImportError, MemoryError):  # these have a readable message already
        raise
    except Exception as error:
        raise ModelError(
            f"model {name!r}: no tokenizer can be made of {companion_files.described(folder)} ({first_line(error)}); "
            "fetch them again."
        ) from error


def _require_files(tokenizer: PreTrainedTokenizerBase, folder: Path, name: str) -> None:
    """Raise ModelError if a tokenizer was built without the files of its vocabulary."""
    wanted = getattr(type(tokenizer), "vocab_files_names", {})
    if type(tokenizer).__module__.startswith("transformers.") and (
        missing := missing_files([path.name for path in folder.iterdir()], wanted, fast=tokenizer.is_fast)
    ):
        extent = "half a tokenizer" if len(missing) < len(set(wanted.values()) - OPTIONAL - {WHOLE}) else "no tokenizer"
        raise ModelError(
            f"model {name!r}: {folder} holds {extent}: {', '.join(missing)} of {type(tokenizer).__name__} is not "
            "there, nor is tokenizer.json; save the tokenizer beside the weights (tokenizer.save_pretrained)."
        )


def missing_files(names: Sequence[str], wanted: Mapping[str, str], *, fast: bool) -> list[str]:
    """The files that a tokenizer class reads and that are not among ``names``; none if `WHOLE` is there.

    wanted: the ``vocab_files_names`` of the class, which are empty if it needs no files (ByT5, CANINE). fast: whether
    the class can read `WHOLE`.
    """
    if fast and WHOLE in names:
        return []
    needed = [file for file in dict.fromkeys(wanted.values()) if file not in OPTIONAL and file != WHOLE]
    if wanted.get("vocab_file") == "vocab.txt" and wanted.get("spm_file") in needed:
        needed.remove(wanted["spm_file"])  # BertJapanese reads either
    if not needed:
        needed = [WHOLE] * (WHOLE in wanted.values())
    if needed in ([WHOLE], ["tokenizer.model"]) and any(fnmatchcase(n, kind) for n in names for kind in VOCABULARIES):
        return []
    return [file for file in needed if file not in names]


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts without special tokens; text that spells a special token is treated as plain text."""
    return tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        truncation=False,
        return_attention_mask=False,
        verbose=False,
    )["input_ids"]


# ---- the true ids ---------------------------------------------------------------------------------------------


def _true_tokenizer(
    model: str, folder: Path, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> PreTrainedTokenizerBase:
    """``tokenizer``, or the first alternative to it, that gives the same ids as the reference.

    Raises ModelError if there is a reference and none of them does.
    """
    if not _is_converted(tokenizer):
        log.info("%s: its tokenizer is %s, which reads the files itself", model, type(tokenizer).__name__)
        return tokenizer
    wrong = ""
    for candidate, reference in _candidates(model, folder, tokenizer):
        wrong = _wrong(candidate, reference, texts)
        if not wrong:
            log.info("%s: its tokenizer is %s, with the ids of %s", model, type(candidate).__name__, reference.name)
            return candidate
        log.warning("%s: %s gives %s", model, type(candidate).__name__, wrong)
    if wrong:
        raise ModelError(
            f"model {model!r}: no tokenizer gives the ids that the files in {folder} define "
            f"({type(candidate).__name__} gives {wrong}); leave the model out, or fix its tokenizer files."
        )
    log.info("%s: its tokenizer is %s, of its class's own files", model, type(tokenizer).__name__)
    return tokenizer


def _is_converted(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether transformers converted the tokenizer, instead of running SentencePiece or the model's own code."""
    return tokenizer.is_fast and type(tokenizer).__module__.startswith("transformers.")


def _candidates(
    model: str, folder: Path, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[PreTrainedTokenizerBase, Reference]]:
    """Possible tokenizers, fastest first, each with its reference.

    There are none for a class that reads its own files without conversion (vocab.txt; vocab.json and merges.txt).
    """
    from prh.models import sentencepiece_tokenizer  # imports transformers, which takes seconds

    settings, config = _content(folder / "tokenizer_config.json"), _content(folder / "config.json")
    saved = saved_tokenizer.as_saved(folder, tokenizer) if (folder / WHOLE).is_file() else None
    fast = [tokenizer] if saved is None else [tokenizer, saved]
    for each in fast:
        special_tokens.follow_settings(each, settings, config.get("model_type"), converted=saved is None)
    if saved is None:
        special_tokens.require_ends(tokenizer, model)
    # a multilingual class puts the language from its settings before a text, which tokenizer.json does not know
    ends = special_tokens.ends(tokenizer if hasattr(tokenizer, "src_lang") else fast[-1])
    path, processor = _sentencepiece_model(folder, tokenizer)
    if processor is not None:
        pieces, owner = _pieces(model, path, processor, fast, settings)
        probes = sentencepiece_tokenizer.own_texts(processor)
        reference = Reference(f"SentencePiece on {path.name}", pieces.of, ends, probes)
    elif saved is not None:
        reference = _saved_reference(folder, tokenizer, ends)
    else:
        _require_own_files(model, folder, tokenizer)
        return
    yield from ((each, reference) for each in fast)
    if processor is not None:
        yield sentencepiece_tokenizer.SentencePieceTokenizer(path, pieces, owner, ends), reference


def _pieces(
    model: str,
    path: Path,
    processor: SentencePieceProcessor,
    tokenizers: Sequence[PreTrainedTokenizerBase],
    settings: Mapping[str, object],
) -> tuple[Pieces, PreTrainedTokenizerBase]:
    """The pieces of the SentencePiece model ``path``, and the first of ``tokenizers`` that has ids for them.

    Raises ModelError if none has.
    """
    from prh.models.sentencepiece_tokenizer import known_pieces

    for each in tokenizers:
        if (pieces := known_pieces(processor, each, type(tokenizers[0]).__name__, settings)) is not None:
            return pieces, each
    raise ModelError(
        f"model {model!r}: the tokenizer that transformers makes of {path.parent} lacks pieces of {path.name} there, "
        "or numbers them differently; delete the file that is not the model's, or add its tokenizer.json."
    )


def _sentencepiece_model(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> tuple[Path | None, SentencePieceProcessor | None]:
    """Path and content of a folder's SentencePiece model: the one that the class names, else the first; or None."""
    from prh.models import sentencepiece_tokenizer

    own = [folder / name for name in tokenizer.vocab_files_names.values()]
    others = sorted(path for path in folder.iterdir() if path.suffix in (".model", ".spm"))
    for path in [*own, *others]:
        if path.suffix in (".model", ".spm") and path.is_file():
            processor = sentencepiece_tokenizer.read(path)
            if processor is not None:
                return path, processor
    return None, None


def _require_own_files(model: str, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ModelError for a tokenizer made from tiktoken ranks or the like, which do not say how a text is split."""
    own = {name for name in tokenizer.vocab_files_names.values() if (folder / name).is_file()} - OPTIONAL
    if all(any(fnmatchcase(name, kind) for kind in VOCABULARIES) for name in own):
        raise ModelError(
            f"model {model!r}: {type(tokenizer).__name__} is made of files in {folder} that do not say how a text is "
            "split, so its ids cannot be proved; add the tokenizer.json of the model."
        )


def _content(path: Path) -> dict:
    """The content of a JSON file of settings; {} if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _saved_reference(folder: Path, tokenizer: PreTrainedTokenizerBase, ends: special_tokens.Ends) -> Reference:
    """The reference from `tokenizer.json`: the `tokenizers` library, with the tokenizer's settings applied."""
    backend = saved_tokenizer.read(folder, tokenizer.init_kwargs)
    backend.encode_special_tokens = True
    probes = saved_tokenizer.own_texts(backend)
    return Reference(WHOLE, lambda text: backend.encode(text, add_special_tokens=False).ids, ends, probes)


def _wrong(tokenizer: PreTrainedTokenizerBase, reference: Reference, texts: Sequence[str]) -> str:
    """How a tokenizer differs from its reference on the probes, or else on ``texts``; empty if it does not."""
    if special_tokens.ends(tokenizer) != reference.ends:
        return "other special tokens around a text"
    special, probes = [str(token) for token in tokenizer.all_special_tokens], [*PROBES, *SHUFFLED, *reference.probes]
    plain = [text for text in probes if not any(token in text for token in special)]
    asked = tokenizer(plain, add_special_tokens=False)["input_ids"]  # tokenized as for features
    wrong = {text for text, ids in zip(plain, asked, strict=True) if ids != reference.ids(text)}
    for several in (probes, texts):
        scored = zip(several, tokenize(tokenizer, several) if several else [], strict=True)
        wrong |= {text for text, ids in scored if ids != reference.ids(text)}
        if wrong:
            return (
                f"other ids than {reference.name} for {len(wrong):,} texts, such as {min(wrong, key=_by_length)[:60]!r}"
            )
    return ""


def _by_length(text: str) -> tuple[int, str]:
    return len(text), text
