"""Representations that users bring, under whatever name of a modality: features and kernels in files."""

from prh.modalities.base import Modality, register

register(
    Modality(
        "given",
        entry="prh.experiment.schema:GivenModel",
        fits=lambda dataset, entry: dataset.name in entry.files,
        give="prh.models.given:give",
    )
)
