"""Models: where their weights come from, and which of a repository's files are needed.

`prh.modalities` loads what is fetched here. This module does not import torch: a download job starts at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prh.experiment.schema import LanguageModel

# The same weights in several forms: the first form that a repository has is taken, and no other.
WEIGHTS = (
    ("model.safetensors",),
    ("model-*-of-*.safetensors", "model.safetensors.index.json"),
    ("*.safetensors", "*.safetensors.index.json"),
    ("pytorch_model.bin",),
    ("pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"),
    ("*.bin", "*.bin.index.json"),
    ("*.pt", "*.pth"),
)
# Endings of the names of classes with a head that predicts something else than the next token.
_OTHER_HEADS = tuple(
    f"For{task}"
    for task in ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice")
)
# Configuration, code, and every file that a tokenizer of transformers reads (a test asks the classes for their names).
COMPANIONS = (
    *("*.json", "*.txt", "*.jinja", "*.py"),
    *("*.model", "*.spm", "*.tiktoken", "*.codes", "*.bpe", "*.tokenizer", "*.vocab"),
)


class ModelError(ValueError):
    """A model cannot be fetched, loaded or read the way its entry asks for."""


def first_line(error: BaseException, otherwise: str = "") -> str:
    """The first line of what another library says, not all too long; ``otherwise`` where it says nothing."""
    return next(iter(str(error).strip().splitlines()), otherwise)[:200]


def may_be_causal(entry: LanguageModel) -> bool:
    """Whether a language model is scored as one that predicts the next token: what its entry says, or else whether
    nothing says that it is another kind.

    A config.json that lies here may say so: that of an encoder-decoder, or with a head that is not for the next token.
    Of other models it is known when they are loaded; their jobs then write an empty table.
    """
    if entry.causal is not None:
        return entry.causal
    path = Path(entry.path or "", "config.json")
    if entry.source not in ("local", "random") or not entry.path or not path.is_file():
        return True
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        heads = [str(name) for name in config.get("architectures") or []]
        pair = bool(config.get("is_encoder_decoder"))
    except (ValueError, AttributeError, TypeError):
        return True  # the job says what is wrong with the file
    return not pair and not (heads and all(name.endswith(_OTHER_HEADS) for name in heads))


def hub_repository(library: str, identity: str) -> str:
    """The hub repository of an entry: a timm name without a slash is looked up in timm's registry."""
    if library != "timm" or "/" in identity:
        return identity.removeprefix("hf-hub:").removeprefix("hf_hub:")
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(identity)
    except RuntimeError:
        config = None
    if config is None or not config.hf_hub_id:
        raise ModelError(f"timm has no weights on the hub for {identity!r}; timm.list_pretrained() lists the names.")
    return f"{config.hf_hub_id.rstrip('/')}/{identity}" if config.hf_hub_id == "timm/" else config.hf_hub_id


def needed_files(names: Iterable[str]) -> list[str]:
    """Of the files of a hub repository those that are loaded: configuration, tokenizer and one set of weights.

    safetensors are preferred to pickled weights. Folders (onnx/, original/ ...) hold other forms of the same and are
    left out. Raises ModelError where there are no weights.
    """
    top = sorted(name for name in names if "/" not in name)
    forms = ([name for name in top if _fits(name, form)] for form in WEIGHTS)
    weights = next((form for form in forms if not all(name.endswith(".json") for name in form)), None)
    if weights is None:
        raise ModelError(f"the repository has no weights that can be loaded; it has {', '.join(top) or 'no file'}.")
    others = [name for name in top if _fits(name, COMPANIONS) and not name.endswith(".index.json")]
    return others + weights


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
