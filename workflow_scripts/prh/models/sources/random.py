"""Architectures with random weights: models before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register
from prh.io import files

if TYPE_CHECKING:
    from prh.experiment.schema import WeightsEntry


def fetch(entry: WeightsEntry, _folder: Path, **_how: Any) -> tuple[None, dict[str, object]]:
    """Fetch nothing; a transformers configuration is listed, because changing it changes the random weights."""
    return None, {"configuration": files.listing(Path(entry.path))} if entry.path else {}


def mistake(entry: WeightsEntry) -> str | None:
    """A sentence if the architecture is missing."""
    if entry.id or entry.path:
        return None
    return "source 'random' needs 'id' (timm architecture) or 'path' (folder with config.json)"


register(Source("random", of="models", fetch=fetch, mistake=mistake, lies_here=lambda entry: entry.path))
