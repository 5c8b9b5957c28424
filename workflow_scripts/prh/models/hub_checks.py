"""Checks that a hub repository holds what its model needs; they read only its small files, before the download."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from prh.downloads.hub import Snapshot
from prh.models.repositories import ModelError


def content_of(snapshot: Snapshot, name: str, folder: Path) -> dict:
    """The JSON object in a file of a repository. Raises ModelError if the file holds anything else."""
    try:
        content = json.loads(snapshot.fetch_file(name, folder).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"its {name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"its {name} is not a JSON object")
    return content


def image_preparation(
    snapshot: Snapshot, _config: Mapping, _entry: Mapping, _folder: Path
) -> Iterator[tuple[bool, str]]:
    """Check that the repository says how images are preprocessed."""
    if not {"preprocessor_config.json", "processor_config.json"} & set(snapshot.files):
        yield True, "it has no preprocessor_config.json, which says how its images are prepared"


def tokenizer(snapshot: Snapshot, config: Mapping, entry: Mapping, folder: Path) -> Iterator[tuple[bool, str]]:
    """Check the class of the tokenizer, and that a file which it reads is in the repository."""
    yield _tokenizer(snapshot, config, entry, folder)


def _tokenizer(snapshot: Snapshot, config: Mapping, entry: Mapping, folder: Path) -> tuple[bool, str]:
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    name = "tokenizer_config.json"
    settings = content_of(snapshot, name, folder) if name in snapshot.files else {}
    named = settings.get("tokenizer_class") or TOKENIZER_MAPPING_NAMES.get(config.get("model_type"))
    if "AutoTokenizer" in (settings.get("auto_map") or {}):
        if entry["trust_remote_code"]:
            return False, f"tokenizer {named}, by code of its own"
        return True, f"its tokenizer {named} is code of its own: read it, then set trust_remote_code: true"
    known = tokenizer_class_from_name(named) if isinstance(named, str) else None
    read = {"tokenizer.json"} | set(getattr(known, "vocab_files_names", {}).values())
    present = sorted(read & set(snapshot.files))
    if known is None and "tokenizer.json" not in present:
        return True, f"transformers knows no tokenizer class {named!r}, and there is no tokenizer.json"
    if not present:
        return True, f"it has no tokenizer: none of {', '.join(sorted(read))} is there"
    return False, f"tokenizer {named or 'of'} ({', '.join(present)})"
