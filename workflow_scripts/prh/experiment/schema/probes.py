"""Competence in vision: classes predicted from features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prh.experiment.schema.base import Name, Section, Seed


class Probe(Section):
    """A classification task for vision models, solved by a linear probe on their features."""

    name: Name
    """Name of the task."""
    group: Literal["natural", "specialised", "structured"] = "natural"
    """VTAB group."""
    train: str
    """Data set with the training samples."""
    test: str | None = None
    """Data set with the test samples (null: hold out a part of the training samples)."""
    label: str
    """Column with the classes, one of the data set's 'labels'."""
    classes: Annotated[int, Field(ge=2)] | None = None
    """Expected number of classes; with any other number the probe is refused (null: not checked)."""
    bins: Annotated[int, Field(ge=2)] | None = None
    """Merge 'classes', numbered from 0 in order, into this many of equal width (null: keep them)."""
    limit: Annotated[int, Field(ge=2)] = 10_000
    """Maximum number of training samples, drawn by class."""
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Fraction of the samples to hold out if 'test' is null."""
    layer: int = -1
    """Layer to probe, counted from the end if negative."""
    seed: Seed = 0
    """Seed for drawing samples."""

    @model_validator(mode="after")
    def _bins_are_fewer(self) -> Probe:
        if self.bins is not None and (self.classes is None or self.bins >= self.classes):
            raise ValueError("'bins' merges classes, so 'classes' must be set and larger than 'bins'")
        return self
