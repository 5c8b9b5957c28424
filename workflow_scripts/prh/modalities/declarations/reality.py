"""Reality: the known kernel of the idealised world, given instead of computed by a model."""

from prh.modalities.base import Modality, register

register(
    Modality(
        "world",
        entry="prh.experiment.schema:Reality",
        fits=lambda dataset, entry: dataset.source == "world",
        give="prh.world.written:give_reality",
        colour="#009E73",
    )
)
