"""Models that a function of the user's builds: see docs/own.md. Nothing of it is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.experiment.schema import WeightsEntry

DECIDED = (
    *("library", "id", "revision", "url", "sha256", "checkpoint", "seed", "model_args", "trust_remote_code"),
    *("device_map", "gpus", "quantisation"),
)
"""Keys of other sources: here the factory decides all that they say."""


def fetch(entry: WeightsEntry, _folder: Path, **_how: Any) -> Path | None:
    """The files that the factory reads, as far as the entry names them; nothing is copied."""
    return Path(entry.path) if entry.path else None


def mistake(entry: WeightsEntry) -> str | None:
    """A sentence if the factory is missing, or a key says what only the factory can."""
    if not entry.factory:
        return "source 'python' needs 'factory', a function such as my_models.py:build"
    for key in DECIDED:
        if key in entry.model_fields_set:
            return f"source 'python' takes no '{key}', because the factory decides that; use 'factory_args'"
    return None


register(
    Source(
        "python", of="models", fetch=fetch, mistake=mistake, lies_here=lambda entry: entry.path, checkpoint_key="path"
    )
)
