"""What the entries of all models have."""

from __future__ import annotations

from pydantic import model_validator

from prh.experiment.schema.base import ModelName, Section
from prh.io.names import is_checkpoint


class ModelEntry(Section):
    """Keys of every model, whatever its modality. A class that adds no ``source`` has no weights."""

    name: ModelName
    """Name in paths, tables and figures. (Those of checkpoints get an @ and the step.)"""
    family: str | None = None
    """Models of the same family are drawn together (null: the name)."""

    @model_validator(mode="after")
    def _has_a_name_of_its_own(self) -> ModelEntry:
        if is_checkpoint(self.name):
            raise ValueError(f"the name '{self.name}' has an @; list its steps under 'checkpoints' instead")
        return self
