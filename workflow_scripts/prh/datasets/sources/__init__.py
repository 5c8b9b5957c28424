"""Sources of data sets: where they come from, and how their samples are fetched and read."""

from prh.datasets.sources.base import SOURCES, Source, register
from prh.datasets.sources.registry import known, source_of

__all__ = ["SOURCES", "Source", "known", "register", "source_of"]
