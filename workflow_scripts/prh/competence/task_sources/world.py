"""Walks of the idealised world to be continued, as a multiple-choice task."""

from prh.downloads.sources import Source, register

register(
    Source(
        "world",
        of="harness",
        entry="prh.experiment.schema:WorldTask",
        fetch="prh.world.written:fetch_task",
        is_of_world=True,
    )
)
