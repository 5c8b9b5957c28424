"""Models on this machine: a folder saved by a library, or a checkpoint file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.experiment.schema import WeightsEntry


def fetch(entry: WeightsEntry, _folder: Path, **_how: Any) -> Path:
    """The path that the entry names; nothing is copied."""
    return Path(entry.path)


def mistake(entry: WeightsEntry) -> str | None:
    """A sentence if the path is missing."""
    return None if entry.path else "source 'local' needs 'path', the folder or file with the weights"


register(
    Source(
        "local",
        of="models",
        fetch=fetch,
        mistake=mistake,
        lies_here=lambda entry: entry.path,
        checkpoint_key="path",
    )
)
