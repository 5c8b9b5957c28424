"""The events of the idealised world, as a data set."""

from prh.downloads.sources import Source, register

register(
    Source(
        "world",
        entry="prh.experiment.schema:WorldDataset",
        fetch="prh.world.written:fetch",
        is_of_world=True,
        samples=lambda entry, world: min(entry.samples or world.events, world.events),
    )
)
