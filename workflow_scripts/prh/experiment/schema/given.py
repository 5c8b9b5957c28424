"""Representations that are given: features and kernels in files, from a brain, another framework or a hosted model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from prh.experiment.schema.base import Name
from prh.experiment.schema.model_entry import ModelEntry


class GivenModel(ModelEntry):
    """Keys of every representation that is given. See docs/own.md."""

    modality: Name
    """What to call its modality in figures: vision, language, or a word of your own such as brain."""
    files: Annotated[dict[str, str], Field(min_length=1)]
    """For each data set that it represents, by name, a file or folder, relative to the folder where snakemake runs."""
    order: Literal["dataset"] | None = None
    """dataset: files without sample ids have their rows in the order of the data set. Rows with ids are matched by
    them."""
    parameters: Annotated[int, Field(ge=1)] | None = None
    """Number of parameters of the model behind it, for figures (null: none are known)."""

    @model_validator(mode="after")
    def _is_no_reality(self) -> GivenModel:
        if self.modality == "world":
            raise ValueError("'modality' world is the known kernel of the idealised world; choose another word")
        return self


class FeaturesModel(GivenModel):
    """Features that exist already: .npy, .npz, .safetensors, .parquet, .h5, or a folder of one such file per layer."""

    source: Literal["features"]


class KernelModel(GivenModel):
    """Similarities or dissimilarities between samples: a matrix for each layer, region or subject, in .npy, .npz,
    .parquet, .csv, or .h5 (RDMs of rsatoolbox too).
    """

    source: Literal["kernel"]
    kind: Literal["similarity", "dissimilarity"]
    """Whether larger numbers mean more alike, or less. A dissimilarity d is read as the similarity 1 - d."""


GIVEN = {"features": SimpleNamespace(entry=FeaturesModel), "kernel": SimpleNamespace(entry=KernelModel)}
"""The classes of entries whose source gives the representation itself."""
