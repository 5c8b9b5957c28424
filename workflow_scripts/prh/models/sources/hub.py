"""Models of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.downloads.lockfile import Lock
    from prh.experiment.schema import WeightsEntry


def fetch(entry: WeightsEntry, folder: Path, *, lock: Lock, **_how: Any) -> tuple[Path, dict[str, object]]:
    """Download the files of a repository that loading needs, and return its commit."""
    from prh.downloads import hub
    from prh.models import repositories

    name, revision = repository(entry)
    snapshot = hub.find(name, revision=revision, lock=lock)
    snapshot.fetch(repositories.needed_files(snapshot.files), folder)
    return folder, {"revision": snapshot.commit}


def repository(entry: WeightsEntry) -> tuple[str, str | None]:
    """The repository of an entry, whose id may be a timm name, and the revision."""
    from prh.models import repositories

    return repositories.hub_repository(entry.library, entry.id), entry.revision


def mistake(entry: WeightsEntry) -> str | None:
    """A sentence if the id is missing."""
    return None if entry.id else "source 'hub' needs 'id', the repository or timm name"


register(
    Source(
        "hub",
        of="models",
        fetch=fetch,
        mistake=mistake,
        is_elsewhere=True,
        origin=lambda entry: entry.id,
        repository=repository,
        checkpoint_key="revision",
    )
)
