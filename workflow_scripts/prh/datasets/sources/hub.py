"""Data sets of the Hugging Face hub."""

from prh.downloads.sources import Source, register

register(
    Source(
        "hub",
        entry="prh.experiment.schema:HubDataset",
        fetch="prh.datasets.hub_data:fetch_source",
        read="prh.datasets.hub_reading:read_source",
        is_elsewhere=True,
        origin=lambda entry: entry.id,
        repository=lambda entry: (entry.id, entry.revision),
    )
)
