"""How models of the idealised world are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prh.experiment.schema.base import Section, Seed


class _Training(Section):
    steps: Annotated[int, Field(ge=1)] = 200
    """Steps of AdamW."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Highest learning rate; it warms up and falls to zero."""
    seed: Seed = 0
    """Seed of weights and batches."""


class VisionTraining(_Training):
    """How a vision model of the world is trained."""

    architecture: str
    """Name of a timm architecture; its arguments are in model_args."""
    objective: Literal["temporal_contrastive", "next_event", "autoencoder", "supervised", "random"] = "next_event"
    """What it learns: see docs/world.md. random: nothing."""
    batch: Annotated[int, Field(ge=2)] = 256
    """Images in a batch."""


class LanguageTraining(_Training):
    """How a language model of the world is trained."""

    architecture: Literal["gpt2", "llama"] = "gpt2"
    """Class of transformers."""
    width: Annotated[int, Field(ge=1)] = 32
    """Width of the transformer."""
    depth: Annotated[int, Field(ge=1)] = 2
    """Number of blocks."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Attention heads; they divide the width."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Sequences in a batch."""
    context: Annotated[int, Field(ge=2)] = 32
    """Words in a sequence."""
    density: Annotated[float, Field(ge=0)] = 1.0
    """How events are told in the text that it reads."""
