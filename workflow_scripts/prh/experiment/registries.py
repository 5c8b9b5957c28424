"""Registries: files of ready-made entries (models, data sets, tasks) that experiments can take entries from.

In any list of an experiment, ``- from: resources/models/vision.yaml`` stands for all entries of that list in that file.
A registry has the same lists as an experiment (models, datasets, probes ...), so an experiment can serve as one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from prh.experiment.loading import require_plain
from prh.experiment.messages import ConfigError
from prh.experiment.schema import LISTS, From
from prh.io import yaml_files


def read(path: str | Path) -> dict[str, object]:
    """The content of an experiment file. Raises ConfigError if it is not a YAML mapping (prh.io.yaml_files)."""
    try:
        content = yaml_files.read(path)
    except yaml_files.YamlError as error:
        raise ConfigError(f"the experiment {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is no experiment: it must hold keys such as datasets and models.")
    return content


def expand(raw: Mapping[str, object], folder: str | Path = ".", *others: str | Path) -> dict[str, object]:
    """``raw`` (a parsed experiment file) with every ``from`` replaced by the entries it stands for.

    Files are looked up relative to ``folder``, then relative to ``others`` (the workflow's own registries). Raises
    ConfigError with a line for each mistake: a missing file, a file that is no registry, an unknown name or key.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError("an experiment must hold keys such as datasets and models.")
    require_plain(raw)
    mistakes: list[str] = []
    expanded = dict(raw)
    for kind in LISTS:
        if not isinstance(entries := raw.get(kind), list):
            continue
        expanded[kind] = []
        for entry in entries:
            if not (isinstance(entry, Mapping) and "from" in entry):
                expanded[kind].append(entry)
                continue
            try:
                expanded[kind] += _taken(kind, entry, [Path(folder), *map(Path, others)])
            except ConfigError as error:
                mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return expanded


def _taken(kind: str, entry: Mapping, folders: Sequence[Path]) -> list[dict]:
    try:
        wanted = From.model_validate(entry)
    except ValidationError as error:
        keys = ", ".join(str(item["loc"][-1]) if item["loc"] else str(item["ctx"]["error"]) for item in error.errors())
        raise ConfigError(
            f"{kind}, from {entry['from']!r}: wrong {keys}; the keys are from, only, without, set."
        ) from None
    paths = [folder / wanted.file for folder in folders]
    known = _entries(kind, next(filter(os.path.isfile, paths), paths[0]))
    for name in [*(wanted.only or ()), *wanted.without]:
        if name not in known:
            raise ConfigError(f"{kind}: {wanted.file} has no entry '{name}'; it has {', '.join(known)}.")
    names = [name for name in known if wanted.only is None or name in wanted.only]
    return [known[name] | wanted.set for name in names if name not in wanted.without]


def _entries(kind: str, path: Path) -> dict[str, dict]:
    """The entries in one list of a registry, by name."""
    try:
        content = yaml_files.read(path)
    except yaml_files.YamlError as error:
        raise ConfigError(f"{kind}: the registry {error}") from None
    entries = content.get(kind) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
    ):
        raise ConfigError(f"{kind}: {path} has no list '{kind}' of entries with a name.")
    if repeated := [name for name, count in Counter(entry["name"] for entry in entries).items() if count > 1]:
        raise ConfigError(f"{kind}: {path} has the name '{repeated[0]}' more than once; give each entry its own.")
    return {entry["name"]: entry for entry in entries}
