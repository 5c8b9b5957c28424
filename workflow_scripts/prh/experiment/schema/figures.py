"""What the figures of an experiment show."""

from __future__ import annotations

from typing import Literal

from prh.experiment.schema.base import Section


class Figures(Section):
    """What the figures show."""

    layer_pairs: list[tuple[str, str]] = []
    """Model pairs whose layer x layer matrix is drawn, in addition to the best vision and language pair."""
    tasks: str = "VTAB"
    """Name of the probed tasks in Figure 2."""
    text: str | None = None
    """The text whose bits per byte measure competence in language (null: the first)."""
    reference: str | None = None
    """Vision family (or model) to which Figure 4 aligns language models (null: the family of the last vision model)."""
    checkpoint_scores: list[Literal["texts", "probes", "harness"]] = ["texts"]
    """Which scores of checkpoints are measured, for the figure of trajectories: bits per byte on the texts, probes, or
    tasks of lm-eval. (Those of other models are always measured.)"""
