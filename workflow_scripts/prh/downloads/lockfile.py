"""The lock file of an experiment: the commit or hash of each source when it was first downloaded.

It is beside the experiment file (paper.yaml: paper.lock.yaml) and belongs in version control with it. Downloads run in
parallel as separate processes; each changes its own entry, one process at a time. A download writes the same entry
beside its output, where other experiments with the same results folder find it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from prh.io import files, yaml_files

EXACT = ("revision", "sha256")
HEADING = (
    "# The version of each source at its first download. Commit this file with its experiment. To update a source,\n"
    "# delete its entry and what was downloaded from it (results/models/<name>, results/datasets/<name> ...).\n"
)
HEADING_BESIDE = "# The version that was downloaded here, for the lock file of every experiment that uses it.\n"
log = logging.getLogger(__name__)


class LockError(ValueError):
    """The lock file cannot be read."""


def lock_path(experiment: str | Path) -> Path:
    """The lock file of an experiment file."""
    return Path(experiment).with_suffix(".lock.yaml")


@dataclass(frozen=True)
class Lock:
    """The entry of one source in a lock file; without a path, nothing is locked."""

    path: Path | None = None
    kind: str = ""
    """The list of the experiment that has the source: models, datasets ..."""
    name: str = ""
    """Its name in that list."""
    beside: Path | None = None
    """The output of the download, beside which the same entry is written for other experiments (`adopt`)."""

    def held(self, source: Mapping[str, str]) -> str | None:
        """The revision or sha256 that is locked for ``source``, such as {"id": "gpt2"}.

        None if there is none yet, or if the experiment's entry names another source now.
        """
        entry = {} if self.path is None else dict(read(self.path).get(self.kind, {}).get(self.name, {}))
        exact = next((entry.pop(key) for key in EXACT if key in entry), None)
        if exact is not None and entry != dict(source):
            log.warning("%s: its source was %s and is now %s; locking it again.", self.name, entry, dict(source))
            return None
        return exact

    def keep(self, source: Mapping[str, str], **exact: str) -> None:
        """Lock ``source`` at an exact ``revision`` or ``sha256``."""
        entry = {**source, **exact}
        if self.path is not None:
            _write(self.path, self.kind, self.name, entry)
        if self.beside is not None:
            _write(lock_path(self.beside), self.kind, self.name, entry, HEADING_BESIDE)


def adopt(lock: Path, outputs: Mapping[tuple[str, str], Path]) -> list[str]:
    """Lock what another experiment with the same results folder has downloaded, so that it is not downloaded again.

    ``outputs``: the output of the download of each entry (kind, name). Returns a sentence for each output whose version
    is not the one in ``lock``.
    """
    conflicts, locked = [], read(lock)
    for (kind, name), path in outputs.items():
        here = read(lock_path(path)).get(kind, {}).get(name) if path.is_file() else None
        held = locked.get(kind, {}).get(name)
        if here is None or here == held:
            continue
        if held is None:
            _write(lock, kind, name, here)
        elif _source_of(here) == _source_of(held):
            conflicts.append(
                f"{path} was downloaded by another experiment at {_exact(here)}, and {lock} holds {_exact(held)}; "
                "delete one of them."
            )
    return conflicts


def _write(path: Path, kind: str, name: str, entry: dict[str, str], heading: str = HEADING) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(path):
        content = read(path)
        if content.get(kind, {}).get(name) == entry:
            return
        content.setdefault(kind, {})[name] = entry
        ordered = {kind: dict(sorted(content[kind].items())) for kind in sorted(content)}
        with files.writing(path) as part:
            part.write_text(heading + yaml.safe_dump(ordered, sort_keys=False), encoding="utf-8")


def _source_of(entry: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in entry.items() if key not in EXACT}


def _exact(entry: Mapping[str, str]) -> str:
    return next((entry[key] for key in EXACT if key in entry), "no version")


def read(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The entries of a lock file, by list and name; {} if there is no file. Raises LockError if it cannot be read."""
    if not path.exists() and not path.is_symlink():
        return {}
    try:
        content = yaml_files.read(path) or {}
    except yaml_files.YamlError as error:
        raise LockError(f"the lock file {error}") from None
    levels = [content, *content.values()] if isinstance(content, dict) else [None]
    entries = [entry for level in levels[1:] if isinstance(level, dict) for entry in level.values()]
    if not all(isinstance(part, dict) for part in [*levels, *entries]):
        raise LockError(
            f"{path} is not a lock file: it must map lists to names, and each name to its id or url and its version."
        )
    wrong = [(name, key) for level in levels[1:] for name, entry in level.items() for key, value in entry.items()
             if not (isinstance(value, str) and value.isprintable())]  # fmt: skip
    if wrong:
        raise LockError(f"{path}: {wrong[0][1]} of {wrong[0][0]} is not text; put it in quotes, or delete the entry.")
    return content
