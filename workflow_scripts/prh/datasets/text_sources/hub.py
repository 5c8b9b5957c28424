"""Texts from a column of a data set on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prh.downloads.sources import Source, register

if TYPE_CHECKING:
    from prh.experiment.schema import HubText


def read(entry: HubText, facts: Mapping) -> Iterable[str]:
    """The documents in the entry's column."""
    from prh.datasets.hub_reading import hub_documents

    return hub_documents(facts["root"], entry.split, entry.subset, entry.column, facts["split"])


register(
    Source(
        "hub",
        of="texts",
        entry="prh.experiment.schema:HubText",
        fetch="prh.datasets.hub_data:fetch_source",
        read=read,
        is_elsewhere=True,
        origin=lambda entry: entry.id,
        repository=lambda entry: (entry.id, entry.revision),
    )
)
