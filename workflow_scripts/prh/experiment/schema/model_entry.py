"""What the entries of all models have."""

from __future__ import annotations

from prh.experiment.schema.base import Name, Section


class ModelEntry(Section):
    """Keys of every model, whatever its modality. A class that adds no ``source`` has no weights."""

    name: Name
    """Name in paths, tables and figures."""
    family: str | None = None
    """Models of the same family are drawn together (null: the name)."""
