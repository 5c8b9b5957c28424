"""Which sources of data sets there are."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import Any

from prh.datasets.sources.base import SOURCES, Source


def known() -> dict[str, Source]:
    """All sources by name: those of the workflow, and those that were registered from outside."""
    _declare()
    return SOURCES


@cache
def _declare() -> None:
    from prh.datasets.sources import declarations

    for module in pkgutil.iter_modules(declarations.__path__, f"{declarations.__name__}."):
        import_module(module.name)


def source_of(entry: Any) -> Source:
    """The source of a data set's entry."""
    return known()[entry.source]
