"""How models of the idealised world are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prh.experiment.schema.base import Section, Seed


class _Training(Section):
    steps: Annotated[int, Field(ge=1)] = 200
    """Steps of AdamW."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate; it warms up to this and decays to zero."""
    seed: Seed = 0
    """Seed of initial weights and batches."""


class VisionTraining(_Training):
    """How a vision model of the world is trained."""

    architecture: str
    """Name of a timm architecture; model_args holds its arguments."""
    objective: Literal["temporal_contrastive", "next_event", "autoencoder", "supervised", "random"] = "next_event"
    """What it is trained to predict (docs/world.md). random: no training."""
    batch: Annotated[int, Field(ge=2)] = 256
    """Images per batch."""


class LanguageTraining(_Training):
    """How a language model of the world is trained."""

    architecture: Literal["gpt2", "llama"] = "gpt2"
    """Architecture, from transformers."""
    width: Annotated[int, Field(ge=1)] = 32
    """Width of the transformer."""
    depth: Annotated[int, Field(ge=1)] = 2
    """Number of blocks."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Attention heads; must divide the width."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Sequences per batch."""
    context: Annotated[int, Field(ge=2)] = 32
    """Words per sequence."""
    density: Annotated[float, Field(ge=0)] = 1.0
    """Words per event in the training text, as for the captions of a world data set."""
