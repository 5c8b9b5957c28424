"""Competence in vision: classes that are read from features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prh.experiment.schema.base import Name, Section, Seed


class Probe(Section):
    """A classification task for vision models: a linear probe on their features."""

    name: Name
    """Name of the task."""
    group: Literal["natural", "specialised", "structured"] = "natural"
    """VTAB group."""
    train: str
    """Data set with the training samples."""
    test: str | None = None
    """Data set with the test samples (null: a part of the training samples, held out)."""
    label: str
    """Column with the classes, one of the data set's 'labels'."""
    classes: Annotated[int, Field(ge=2)] | None = None
    """How many classes there must be, or the probe is refused (null: not checked)."""
    bins: Annotated[int, Field(ge=2)] | None = None
    """Merge 'classes', numbered from 0 in their order, into so many of equal width (null: as they are)."""
    limit: Annotated[int, Field(ge=2)] = 10_000
    """At most so many training samples, drawn by class."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the samples that is held out where 'test' is null."""
    layer: int = -1
    """Layer whose features are probed, counted from the end if negative."""
    seed: Seed = 0
    """Seed of every draw."""

    @model_validator(mode="after")
    def _bins_are_fewer(self) -> Probe:
        if self.bins is not None and (self.classes is None or self.bins >= self.classes):
            raise ValueError("'bins' merges classes, so 'classes' must be given and be more")
        return self
