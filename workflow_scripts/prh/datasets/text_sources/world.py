"""Walks through the idealised world that no model was trained on, as a text."""

from prh.downloads.sources import Source, register

register(
    Source(
        "world",
        of="texts",
        entry="prh.experiment.schema:WorldText",
        fetch="prh.world.written:fetch_text",
        is_of_world=True,
    )
)
