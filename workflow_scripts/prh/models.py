"""Models: where their weights come from, and which of a repository's files are needed.

`prh.modalities` loads what is fetched here. This module does not import torch: a download job starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

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
# Configurations, templates, code, and what the tokenizer classes of transformers read (a test asks each of them).
COMPANIONS = (
    *("*.json", "*.txt", "*.jinja", "*.py"),
    *("*.model", "*.spm", "*.tiktoken", "*.codes", "*.bpe", "*.tokenizer"),
)
WHOLE = "tokenizer.json"
"""The file that holds all of a fast tokenizer."""
OPTIONAL = frozenset({"tokenizer_config.json", "normalizer.json", "target_vocab.json", "target.spm"})
"""Of the files that a tokenizer class names, those that it does without."""
VOCABULARIES = ("*.model", "*.spm", "*.tiktoken", "tekken.json")
"""What may stand in for the one vocabulary file that a class without a form of its own names."""


class ModelError(ValueError):
    """A model cannot be fetched, loaded or read the way its entry asks for."""


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


def missing_tokenizer_files(names: Iterable[str], wanted: Mapping[str, str], *, fast: bool) -> list[str]:
    """Of the files that a tokenizer class reads those that are not among ``names``; none where `WHOLE` is there.

    wanted: the ``vocab_files_names`` of the class; empty for one that needs none (ByT5, CANINE). fast: whether the
    class can read `WHOLE`. Without its files a class makes a tokenizer of a few special tokens, and says nothing.
    """
    there = set(names)
    if fast and WHOLE in there:
        return []
    vocabulary = [name for name in dict.fromkeys(wanted.values()) if name not in OPTIONAL and name != WHOLE]
    if wanted.get("spm_file") in vocabulary and "spm_file" in wanted and wanted["vocab_file"] == "vocab.txt":
        vocabulary.remove(wanted["spm_file"])  # BertJapanese reads the one or the other
    if not vocabulary:
        vocabulary = [WHOLE] * (WHOLE in wanted.values())
    if vocabulary in ([WHOLE], ["tokenizer.model"]) and any(_fits(name, VOCABULARIES) for name in there):
        return []
    return [name for name in vocabulary if name not in there]


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
