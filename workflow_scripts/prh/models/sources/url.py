"""Checkpoints on the web for an architecture of timm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.downloads.lockfile import Lock
    from prh.experiment.schema import WeightsEntry


def fetch(entry: WeightsEntry, folder: Path, *, lock: Lock, **_how: Any) -> Path:
    """Download the file and check its hash."""
    from prh.downloads import web

    return web.fetch_url(entry.url, folder, sha256=entry.sha256, lock=lock)


def mistake(entry: WeightsEntry) -> str | None:
    """A sentence if the address or the architecture is missing."""
    if entry.url and entry.id:
        return None
    return "source 'url' needs 'url', the checkpoint, and 'id', the timm architecture that it fits"


def size(entry: WeightsEntry) -> int | None:
    """The size of the file in bytes, if its server says so."""
    from prh.downloads import web

    return web.size_of_url(entry.url)


register(
    Source(
        "url", of="models", fetch=fetch, mistake=mistake, is_elsewhere=True, origin=lambda entry: entry.url, size=size
    )
)
