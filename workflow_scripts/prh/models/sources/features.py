"""Features that users bring, a file or folder for each data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.experiment.schema import FeaturesModel


def fetch(entry: FeaturesModel, _folder: Path, *, dataset: str, **_how: Any) -> Path:
    """Where those of a data set lie."""
    return Path(entry.files[dataset])


register(
    Source(
        "features",
        of="models",
        entry="prh.experiment.schema:FeaturesModel",
        fetch=fetch,
        read="prh.models.given.features:read",
    )
)
