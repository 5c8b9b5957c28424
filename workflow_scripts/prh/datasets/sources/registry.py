"""The known sources of data sets, and lookups by entry."""

from __future__ import annotations

from typing import Any

from prh.datasets.sources.base import SOURCES, Source
from prh.io.functions import import_members


def known() -> dict[str, Source]:
    """All sources by name: the workflow's own, and those registered by plugins."""
    import_members("prh.datasets.sources.declarations")
    return SOURCES


def source_of(entry: Any) -> Source:
    """The source of a data set's entry."""
    return known()[entry.source]
