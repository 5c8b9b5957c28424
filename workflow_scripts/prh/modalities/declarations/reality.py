"""Reality: the known kernel of the idealised world, a representation that is given (the program reality.py)."""

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
