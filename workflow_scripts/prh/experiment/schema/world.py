"""The idealised world that an experiment can take data sets and models from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from prh.experiment.schema.base import Section, Seed


class World(Section):
    """The idealised world that data sets and models of source 'world' live in. See docs/world.md."""

    events: Annotated[int, Field(ge=32)] = 512
    """Number of events."""
    scale: Annotated[float, Field(gt=0, le=2)] = 1.25
    """How far a walk steps, in units of the spacing of the events."""
    image_size: Annotated[int, Field(ge=16)] = 32
    """Pixels on a side of an image."""
    seed: Seed = 0
    """Everything in the world is drawn from it."""
