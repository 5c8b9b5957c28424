"""Texts on this machine: a .txt file, or the captions of a local data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.experiment.schema import LocalText


def fetch(entry: LocalText, _folder: Path, **_how: Any) -> Path:
    """The path that the entry names; nothing is copied."""
    return Path(entry.path)


register(
    Source(
        "local",
        of="texts",
        entry="prh.experiment.schema:LocalText",
        fetch=fetch,
        lies_here=lambda entry: entry.path,
    )
)
