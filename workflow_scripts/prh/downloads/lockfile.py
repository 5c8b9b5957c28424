"""The lock file of an experiment: which commit, or which bytes, each source was when it was first downloaded.

It lies beside the experiment file (paper.yaml: paper.lock.yaml) and belongs into version control with it. Downloads
run in parallel, as processes of their own: each changes its own entry, one process at a time. A download keeps the same
entry beside what it makes, where other experiments with the same results find it.
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
    "# What each source was when it was first downloaded. Commit this file with its experiment. To take what a source\n"
    "# is now, delete its entry and what was fetched from it (results/models/<name>, results/datasets/<name> ...).\n"
)
HEADING_BESIDE = "# What was fetched here, for the lock files of all experiments that find it.\n"
log = logging.getLogger(__name__)


class LockError(ValueError):
    """The lock file cannot be read."""


def lock_path(experiment: str | Path) -> Path:
    """The lock file of an experiment file."""
    return Path(experiment).with_suffix(".lock.yaml")


@dataclass(frozen=True)
class Lock:
    """The entry of one source in a lock file; without a path nothing is held and nothing is kept."""

    path: Path | None = None
    kind: str = ""
    """The list of the experiment that the source is in: models, datasets ..."""
    name: str = ""
    """Its name there."""
    beside: Path | None = None
    """What the download makes: the same is written beside it, for other experiments that find it there (`adopt`)."""

    def held(self, source: Mapping[str, str]) -> str | None:
        """The revision or sha256 that is locked for ``source``, such as {"id": "gpt2"}.

        None where there is none yet, or where the entry of the experiment names another source now.
        """
        entry = {} if self.path is None else dict(read(self.path).get(self.kind, {}).get(self.name, {}))
        exact = next((entry.pop(key) for key in EXACT if key in entry), None)
        if exact is not None and entry != dict(source):
            log.warning("%s: its source was %s and is %s now; it is locked anew.", self.name, entry, dict(source))
            return None
        return exact

    def keep(self, source: Mapping[str, str], **exact: str) -> None:
        """Lock ``source`` at an exact ``revision`` or ``sha256``."""
        entry = {**source, **exact}
        if self.path is not None:
            _write(self.path, self.kind, self.name, entry)
        if self.beside is not None:
            _write(lock_path(self.beside), self.kind, self.name, entry, HEADING_BESIDE)


def adopt(lock: Path, made: Mapping[tuple[str, str], Path]) -> list[str]:
    """Lock what is here already, fetched by another experiment with the same results: its downloads do not run again.

    ``made``: what the download of each entry (kind, name) makes. Returns a sentence for each that was fetched from one
    version of its source while ``lock`` holds another.
    """
    told, locked = [], read(lock)
    for (kind, name), path in made.items():
        here = read(lock_path(path)).get(kind, {}).get(name) if path.is_file() else None
        held = locked.get(kind, {}).get(name)
        if here is None or here == held:
            continue
        if held is None:
            _write(lock, kind, name, here)
        elif _source_of(here) == _source_of(held):
            told.append(
                f"{path} was fetched by another experiment, at {_exact(here)}, and {lock} holds {_exact(held)}; delete "
                "the one or the other."
            )
    return told


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
    """The entries of a lock file, by list and name; none where there is no file. LockError where it is not one."""
    if not path.exists() and not path.is_symlink():
        return {}
    try:
        content = yaml_files.read(path) or {}
    except yaml_files.YamlError as error:
        raise LockError(f"the lock file {error}") from None
    levels = [content, *content.values()] if isinstance(content, dict) else [None]
    entries = [entry for level in levels[1:] if isinstance(level, dict) for entry in level.values()]
    if not all(isinstance(part, dict) for part in [*levels, *entries]):
        raise LockError(f"{path} is no lock file: it must hold lists, names and for each id or url and what it was.")
    return content
