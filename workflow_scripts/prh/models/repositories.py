"""Repositories of models on the hub, and which of their files are needed.

`prh.modalities` loads the files that are chosen here. This module does not import torch, so that download jobs start
at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prh.experiment.schema import LanguageModel

# The same weights in several formats: only the first that a repository has is downloaded.
WEIGHTS = (
    ("model.safetensors",),
    ("model-*-of-*.safetensors", "model.safetensors.index.json"),
    ("*.safetensors", "*.safetensors.index.json"),
    ("pytorch_model.bin",),
    ("pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"),
    ("*.bin", "*.bin.index.json"),
    ("*.pt", "*.pth"),
)
# Class name endings of heads that predict something other than the next token.
_OTHER_HEADS = tuple(
    f"For{task}"
    for task in ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice")
)
# Configuration, code, and every file that a transformers tokenizer reads (a test asks the classes for these names).
COMPANIONS = (
    *("*.json", "*.txt", "*.jinja", "*.py"),
    *("*.model", "*.spm", "*.tiktoken", "*.codes", "*.bpe", "*.tokenizer", "*.vocab"),
)


class ModelError(ValueError):
    """A model cannot be fetched, loaded or read the way its entry asks for."""


def first_line(error: BaseException, otherwise: str = "") -> str:
    """The first line of an error's message, at most 200 characters; ``otherwise`` if the message is empty."""
    return next(iter(str(error).strip().splitlines()), otherwise)[:200]


def may_be_causal(entry: LanguageModel) -> bool:
    """Whether a language model may predict the next token, so that scoring jobs are planned for it.

    The entry's ``causal`` decides if it is set. Otherwise a local config.json can rule it out, if it describes an
    encoder-decoder or a head for another task. A model that only turns out not to be causal when it is loaded gets an
    empty table of scores.
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
        return True  # the job that loads the model will say what is wrong with the file
    return not pair and not (heads and all(name.endswith(_OTHER_HEADS) for name in heads))


def hub_repository(library: str, identity: str) -> str:
    """The hub repository of an entry; a timm name without a slash is looked up in timm's registry.

    Raises ModelError if timm knows no weights on the hub by that name.
    """
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
    """The files of a hub repository that loading needs: configuration, tokenizer and one set of weights.

    safetensors are preferred to pickled weights. Subfolders (onnx/, original/ ...) hold the same weights in other
    formats and are left out. Raises ModelError if there are no weights.
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
