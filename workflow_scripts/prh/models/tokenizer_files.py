"""The tokenizer of a language model: its files must be there, and its ids must be those that the model was trained on.

A library that lacks a tokenizer's files makes one of a few special tokens, without a word. And transformers 5 makes
many tokenizers anew from their vocabulary, as their class says, and loses what else their files say: that OpenLLaMA
merges spaces, that SmolLM takes digits one by one, what mBART does to characters. Two things tell the true ids: a
SentencePiece model in the folder, through SentencePiece itself; else `tokenizer.json`, through the `tokenizers`
library. What transformers makes is compared with that, and where it differs the next of three is tried:
`tokenizer.json` as it is, then SentencePiece itself (`prh.models.sentencepiece_tokenizer`).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prh.models.repositories import ModelError

if TYPE_CHECKING:
    import tokenizers
    from sentencepiece import SentencePieceProcessor
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

WHOLE = "tokenizer.json"
"""The file that holds all of a fast tokenizer."""
OPTIONAL = frozenset({"tokenizer_config.json", "normalizer.json", "target_vocab.json", "target.spm"})
"""Of the files that a tokenizer class names, those that it does without."""
VOCABULARIES = ("*.model", "*.spm", "*.tiktoken", "tekken.json")
"""What may stand in for the one vocabulary file that a class without a form of its own names."""
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

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


def load(
    folder: Path, name: str, *, trust_remote_code: bool = False, texts: Sequence[str] = ()
) -> PreTrainedTokenizerBase:
    """The true tokenizer in ``folder``, of the model ``name``.

    texts: on which, beside PROBES and texts of its own vocabulary, the ids are compared with the true ones.
    Raises ModelError where its files are not there, or where its ids are not those that they tell and cannot be made
    so; and whatever a class raises that cannot read them.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    _require_files(tokenizer, folder, name)
    return _true_tokenizer(name, folder, tokenizer, texts)


def _require_files(tokenizer: PreTrainedTokenizerBase, folder: Path, name: str) -> None:
    """Raise ModelError for a tokenizer that was made without the files of its vocabulary."""
    wanted = getattr(type(tokenizer), "vocab_files_names", {})
    if type(tokenizer).__module__.startswith("transformers.") and (
        missing := missing_files([path.name for path in folder.iterdir()], wanted, fast=tokenizer.is_fast)
    ):
        every = "half a tokenizer" if len(missing) < len(set(wanted.values()) - OPTIONAL - {WHOLE}) else "no tokenizer"
        raise ModelError(
            f"model {name!r}: {folder} holds {every}: {', '.join(missing)} of {type(tokenizer).__name__} is not there, "
            "nor is tokenizer.json; save the tokenizer beside the weights (tokenizer.save_pretrained)."
        )


def missing_files(names: Sequence[str], wanted: Mapping[str, str], *, fast: bool) -> list[str]:
    """Of the files that a tokenizer class reads those that are not among ``names``; none where `WHOLE` is there.

    wanted: the ``vocab_files_names`` of the class; empty for one that needs none (ByT5, CANINE). fast: whether the
    class can read `WHOLE`.
    """
    if fast and WHOLE in names:
        return []
    needed = [file for file in dict.fromkeys(wanted.values()) if file not in OPTIONAL and file != WHOLE]
    if wanted.get("vocab_file") == "vocab.txt" and wanted.get("spm_file") in needed:
        needed.remove(wanted["spm_file"])  # BertJapanese reads the one or the other
    if not needed:
        needed = [WHOLE] * (WHOLE in wanted.values())
    if needed in ([WHOLE], ["tokenizer.model"]) and any(fnmatchcase(n, kind) for n in names for kind in VOCABULARIES):
        return []
    return [file for file in needed if file not in names]


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
        f"model {model!r}: no tokenizer gives the ids that the files in {folder} tell ({wrong}); leave the model "
        "out, or mend its tokenizer files."
    )


def _is_converted(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer was made from files of another kind: not one that runs SentencePiece or its own code."""
    return tokenizer.is_fast and type(tokenizer).__module__.startswith("transformers.")


def _candidates(
    model: str, folder: Path, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[PreTrainedTokenizerBase, Reference]]:
    """What may be the true tokenizer, quickest first, each with what tells the true ids."""
    from prh.models import sentencepiece_tokenizer  # imports transformers, which takes seconds

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
            f"model {model!r}: transformers makes a tokenizer of {folder} that has not the pieces of {path.name} "
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
    yield sentencepiece_tokenizer.SentencePieceTokenizer(path, tokenizer, ids, cut, around), reference


def _sentencepiece_model(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> tuple[Path | None, SentencePieceProcessor | None]:
    """The SentencePiece model of a folder: that which the class names, else the first one; None where there is none."""
    from prh.models import sentencepiece_tokenizer

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
    from transformers import PreTrainedTokenizerFast

    named = {name: token for name in NAMED if (token := getattr(tokenizer, name, None)) is not None}
    return PreTrainedTokenizerFast(
        tokenizer_object=_backend(folder / WHOLE, tokenizer.init_kwargs),
        padding_side=tokenizer.padding_side,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        **named,
    )


def _backend(path: Path, settings: Mapping[str, object]) -> tokenizers.Tokenizer:
    import tokenizers

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
