"""Archives on the web that hold a data set in one of the local forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.downloads.lockfile import Lock
    from prh.experiment.schema import UrlDataset


def fetch(entry: UrlDataset, folder: Path, *, lock: Lock, **_how: Any) -> Path:
    """Download the archive into ``folder``, unpack it beside it, and return the entry's folder in it."""
    from prh.downloads import archives, web

    archive = web.fetch_url(entry.url, folder, sha256=entry.sha256, lock=lock)
    return archives.unpack(archive, folder.with_name("content")) / entry.folder


def size(entry: UrlDataset) -> int | None:
    """The size of the archive in bytes, if its server says so."""
    from prh.downloads import web

    return web.size_of_url(entry.url)


register(
    Source(
        "url",
        entry="prh.experiment.schema:UrlDataset",
        fetch=fetch,
        is_elsewhere=True,
        origin=lambda entry: entry.url,
        size=size,
    )
)
