"""Competence in language: tasks of lm-eval."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prh.experiment.schema.base import Name, Section


class HarnessTask(Section):
    """A task of EleutherAI's lm-eval."""

    name: Name
    """lm-eval's name of the task."""
    source: Literal["lm_eval", "local", "world"]
    """lm-eval's own tasks, a local folder with a task file, or walks of the idealised world to be continued."""
    path: str | None = None
    """local: folder with the task's YAML file."""
    metric: str = "acc"
    """Which of the task's metrics the figures show."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Examples in the prompt (null: the task's own number)."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of questions (null: all; world: 200)."""

    @model_validator(mode="after")
    def _source_is_told(self) -> HarnessTask:
        if (self.source == "local") != (self.path is not None):
            raise ValueError("source 'local' and 'path' belong together")
        return self
