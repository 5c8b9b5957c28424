"""Architectures with random weights: what a model is before it has learned anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register
from prh.io import files

if TYPE_CHECKING:
    from prh.experiment.schema import WeightsEntry


def fetch(entry: WeightsEntry, _folder: Path, **_how: Any) -> tuple[None, dict[str, object]]:
    """Nothing but, for transformers, the configuration: a changed one makes other random weights."""
    return None, {"configuration": files.listing(Path(entry.path))} if entry.path else {}


def mistake(entry: WeightsEntry) -> str | None:
    if entry.id or entry.path:
        return None
    return "source 'random' needs 'id' (timm architecture) or 'path' (folder with config.json)"


register(
    Source("random", of="models", fetch=fetch, mistake=mistake, lies_here=lambda entry: entry.path, has_files=False)
)
