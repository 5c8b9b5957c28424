"""The tokenizer of a language model: its files must be there, and its ids must be those that the model was trained on.

Two things tell the true ids: a SentencePiece model in the folder, through SentencePiece itself; else `tokenizer.json`,
through the `tokenizers` library. What transformers makes of them is compared with that on PROBES, and where it differs
the next of three is tried: `tokenizer.json` as it is, then SentencePiece itself (`SentencePieceTokenizer`).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import tokenizers
from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from prh import sentencepiece_tokenizer
from prh.models import VOCABULARIES, WHOLE, ModelError, missing_tokenizer_files
from prh.sentencepiece_tokenizer import NAMED, SentencePieceTokenizer
from prh.tokenizer_proof import check_ids

log = logging.getLogger(__name__)

PROBES = (
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
"""Texts in which tokenizers that were converted wrongly have differed: white space, code points, bytes, digits."""


class Reference(NamedTuple):
    """What tells the true ids of a text, without special tokens: its name and a function from a text to them.

    probes: texts beside PROBES, of the pieces that the vocabulary has.
    """

    name: str
    ids: Callable[[str], list[int]]
    probes: Sequence[str] = ()


def load_tokenizer(
    entry: Mapping, root: str | Path | None, *, vocabulary: int | None = None, texts: Sequence[str] = ()
) -> PreTrainedTokenizerBase:
    """The true tokenizer of a model entry (see prh.config), read from ``root`` (None: the entry's ``path``).

    vocabulary: rows of the model's embeddings; ids of the probes must lie below. texts: on which, beside PROBES, the
    ids are compared with the true ones.
    Raises ModelError for a folder without the files of its tokenizer, for a tokenizer that cannot be read, whose ids
    are not those of its own files and cannot be made so, or are beyond the embeddings.
    """
    folder = Path(root or entry["path"])
    model = entry.get("name", folder.name)
    names = [path.name for path in folder.iterdir()]
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=entry["trust_remote_code"]
        )
    except Exception as error:  # whatever a class raises for files that are missing, broken or of another class
        raise ModelError(
            f"model '{model}': its tokenizer cannot be loaded from {folder} "
            f"({', '.join(_vocabularies(names))}): {_one_line(error)}; mend the files, or install what it asks for."
        ) from error
    if missing := missing_tokenizer_files(names, tokenizer.vocab_files_names, fast=tokenizer.is_fast):
        raise ModelError(
            f"model '{model}': {folder} has no {' and no '.join(dict.fromkeys([*missing, WHOLE]))}, of which "
            f"{type(tokenizer).__name__} is made; save the model's own tokenizer there."
        )
    tokenizer = _true_tokenizer(model, folder, tokenizer, texts)
    if vocabulary is not None:
        check_ids(f"model '{model}': its tokenizer", tokenize(tokenizer, PROBES), vocabulary)
        if len(tokenizer) < vocabulary * PADDED:
            log.warning(
                "%s: its tokenizer has %s entries and the model embeds %s; make sure that it is the model's own",
                *(model, f"{len(tokenizer):,}", f"{vocabulary:,}"),
            )
    return tokenizer


PADDED = 0.9
"""Entries of a tokenizer for each row of the embeddings, at least: models round their rows up, but not further."""


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts without special tokens: text that spells a special token is text and costs what its bytes cost."""
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
    """The first of ``tokenizer`` and what can stand in for it that gives the ids of the reference."""
    if not _is_converted(tokenizer):
        log.info("%s: its tokenizer is %s, which reads the files itself", model, type(tokenizer).__name__)
        return tokenizer
    wrong = ""
    for candidate, reference in _candidates(model, folder, tokenizer):
        differing = _differing(candidate, reference, texts)
        if not differing:
            log.info("%s: its tokenizer is %s, with the ids of %s", model, type(candidate).__name__, reference.name)
            return candidate
        wrong = f"{len(differing):,} texts, such as {differing[0][:60]!r}"
        log.warning("%s: %s gives other ids than %s for %s", model, type(candidate).__name__, reference.name, wrong)
    if not wrong:
        log.info("%s: nothing beside %s tells its ids", model, type(tokenizer).__name__)
        return tokenizer
    raise ModelError(
        f"model '{model}': no tokenizer gives the ids that the files in {folder} tell ({wrong}); leave the model "
        "out, or mend its tokenizer files."
    )


def _is_converted(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer was made from files of another kind: not one that runs SentencePiece or its own code."""
    return tokenizer.is_fast and type(tokenizer).__module__.startswith("transformers.")


def _candidates(
    model: str, folder: Path, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[PreTrainedTokenizerBase, Reference]]:
    """What may be the true tokenizer, quickest first, each with what tells the true ids."""
    saved = folder / WHOLE
    path, processor = _sentencepiece_model(folder, tokenizer)
    if processor is None:
        if saved.is_file():
            reference = _saved_reference(saved, tokenizer)
            yield tokenizer, reference
            yield _as_saved(folder, tokenizer), reference
        return
    ids = sentencepiece_tokenizer.piece_ids(processor, tokenizer)
    if ids is None and saved.is_file():
        tokenizer = _as_saved(folder, tokenizer)
        ids = sentencepiece_tokenizer.piece_ids(processor, tokenizer)
    if ids is None:
        raise ModelError(
            f"model '{model}': transformers makes a tokenizer of {folder} that has not the pieces of {path.name} "
            "there, or numbers them otherwise; delete the file that is not the model's, or add its tokenizer.json."
        )
    cut, unknown = sentencepiece_tokenizer.cutting(processor, tokenizer), tokenizer.unk_token_id
    reference = Reference(
        f"SentencePiece on {path.name}", lambda text: [ids.get(piece, unknown) for piece in cut(text)]
    )
    if saved.is_file():
        yield tokenizer, reference
        yield _as_saved(folder, tokenizer), reference
    else:
        model_type = _content(folder / "config.json").get("model_type")
        if sentencepiece_tokenizer.puts_bos_first(_content(folder / "tokenizer_config.json"), model_type):
            tokenizer.add_bos_token = tokenizer.bos_token_id is not None
        yield tokenizer, reference
    around = sentencepiece_tokenizer.special_tokens_around(tokenizer)
    yield SentencePieceTokenizer(path, tokenizer, ids, cut, around), reference


def _sentencepiece_model(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> tuple[Path | None, SentencePieceProcessor | None]:
    """The SentencePiece model of a folder: that which the class names, else the first one; None where there is none."""
    own = [folder / name for name in tokenizer.vocab_files_names.values()]
    others = sorted(path for path in folder.iterdir() if path.suffix in (".model", ".spm"))
    for path in [*own, *others]:
        if path.suffix in (".model", ".spm") and path.is_file():
            processor = sentencepiece_tokenizer.read(path)
            if processor is not None:
                return path, processor
    return None, None


def _content(path: Path) -> dict:
    """The content of a JSON file of settings; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _saved_reference(path: Path, tokenizer: PreTrainedTokenizerBase) -> Reference:
    """`tokenizer.json` through the `tokenizers` library, changed by what the tokenizer's settings say."""
    backend = _backend(path, tokenizer.init_kwargs)
    backend.encode_special_tokens = True
    draw = random.Random(0)
    probes = [backend.decode(draw.choices(range(backend.get_vocab_size()), k=8)) for _ in range(200)]
    return Reference(path.name, lambda text: backend.encode(text, add_special_tokens=False).ids, probes)


SETTINGS = {
    "add_prefix_space": ("pre_tokenizer", "ByteLevel", "add_prefix_space"),
    "do_lower_case": ("normalizer", "BertNormalizer", "lowercase"),
    "strip_accents": ("normalizer", "BertNormalizer", "strip_accents"),
    "tokenize_chinese_chars": ("normalizer", "BertNormalizer", "handle_chinese_chars"),
}
"""Settings in tokenizer_config.json that go before tokenizer.json: the part, its type and the key that each means."""


def _with_settings(content: dict, settings: Mapping[str, object]) -> dict:
    for setting, (part, kind, key) in SETTINGS.items():
        whole = content.get(part) or {}
        for piece in [whole, *whole.get("pretokenizers", ()), *whole.get("normalizers", ())]:
            if piece.get("type") == kind and settings.get(setting) is not None:
                piece[key] = settings[setting]
    return content


def _as_saved(folder: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """`tokenizer.json`, changed by the settings only, with the special tokens of ``tokenizer``."""
    named = {name: token for name in NAMED if (token := getattr(tokenizer, name, None)) is not None}
    return PreTrainedTokenizerFast(
        tokenizer_object=_backend(folder / WHOLE, tokenizer.init_kwargs),
        padding_side=tokenizer.padding_side,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        **named,
    )


def _backend(path: Path, settings: Mapping[str, object]) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(json.dumps(_with_settings(_content(path), settings)))
    backend.no_truncation()
    backend.no_padding()
    return backend


def _differing(tokenizer: PreTrainedTokenizerBase, reference: Reference, texts: Sequence[str]) -> list[str]:
    """The probes or, where all of these are right, ``texts`` that become other ids than they should."""
    special, probes = [str(token) for token in tokenizer.all_special_tokens], [*PROBES, *reference.probes]
    plain = [text for text in probes if not any(token in text for token in special)]
    asked = tokenizer(plain, add_special_tokens=False)["input_ids"]  # as features read them
    wrong = [text for text, ids in zip(plain, asked, strict=True) if ids != reference.ids(text)]
    for several in (probes, texts):
        scored = zip(several, tokenize(tokenizer, several) if several else [], strict=True)
        wrong += [text for text, ids in scored if ids != reference.ids(text)]
        if wrong:
            return list(dict.fromkeys(wrong))
    return []


def _vocabularies(names: Iterable[str]) -> list[str]:
    """The files among ``names`` that may hold a vocabulary, for a message."""
    patterns = (WHOLE, "vocab.*", "merges.txt", "dict.txt", "*.codes", "*.bpe", *VOCABULARIES)
    return sorted(name for name in names if any(fnmatch(name, pattern) for pattern in patterns)) or [
        "no vocabulary there"
    ]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
