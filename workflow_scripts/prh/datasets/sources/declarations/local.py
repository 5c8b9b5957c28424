"""Data sets on this machine, in one of the local forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prh.datasets.sources.base import Source, register

if TYPE_CHECKING:
    from prh.datasets.samples import Sample, SampleColumns
    from prh.experiment.schema import LocalDataset


def fetch(entry: LocalDataset, _folder: Path, **_how: Any) -> Path:
    """The folder or file that the entry names; nothing is copied."""
    return Path(entry.path)


def read(_entry: Any, fetched: Mapping, columns: SampleColumns, chosen: Mapping) -> Iterable[Sample]:
    """The samples of a folder or file in one of the local forms."""
    from prh.datasets.local_data import read_local

    return read_local(Path(fetched["root"]), columns, chosen)


register(
    Source(
        "local", entry="prh.experiment.schema:LocalDataset", fetch=fetch, read=read, lies_here=lambda entry: entry.path
    )
)
