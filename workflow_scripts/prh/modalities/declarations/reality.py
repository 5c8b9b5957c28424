"""Reality: the known kernel of the idealised world, given by the program reality.py instead of a model."""

from prh.modalities.base import Modality, register

register(
    Modality(
        "world",
        entry="prh.experiment.schema:Reality",
        load={},
        fits=lambda dataset: dataset.source == "world",
        is_given=True,
        colour="#009E73",
    )
)
