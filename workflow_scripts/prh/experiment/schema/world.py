"""The idealised world, from which an experiment can take data sets and models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from prh.experiment.schema.base import Section, Seed


class World(Section):
    """The idealised world of all data sets and models with source 'world'. See docs/world.md."""

    events: Annotated[int, Field(ge=32)] = 512
    """Number of events."""
    scale: Annotated[float, Field(gt=0, le=2)] = 1.25
    """Step size of the walk, in units of the spacing of the events."""
    image_size: Annotated[int, Field(ge=16)] = 32
    """Side of an image, in pixels."""
    seed: Seed = 0
    """Seed for everything random in the world."""
