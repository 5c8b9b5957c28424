"""What the figures of an experiment show."""

from __future__ import annotations

from prh.experiment.schema.base import Section


class Figures(Section):
    """Choices for the figures."""

    layer_pairs: list[tuple[str, str]] = []
    """Model pairs whose layer x layer matrix is drawn besides that of the best vision and language pair."""
    tasks: str = "VTAB"
    """What the probed tasks are called in Figure 2."""
    text: str | None = None
    """The text whose bits per byte stand for competence in language (null: the first)."""
    reference: str | None = None
    """Vision family (or model) to which Figure 4 aligns language models (null: the family of the last vision model)."""
