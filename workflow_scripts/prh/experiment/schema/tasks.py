"""Competence in language: tasks of EleutherAI's lm-eval; a class for each source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prh.downloads.sources import SOURCES
from prh.experiment.schema.base import Name, Section
from prh.experiment.schema.brought import Brought


class TaskEntry(Section):
    """Keys of every task of lm-eval."""

    name: Name
    """lm-eval's name of the task."""
    metric: str = "acc"
    """Which of the task's metrics the figures show."""
    shots: Annotated[int, Field(ge=0)] | None = None
    """Examples in the prompt (null: the task's own number)."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of questions (null: all; world: 200)."""


class LmEvalTask(TaskEntry):
    """One of lm-eval's own tasks."""

    source: Literal["lm_eval"]


class LocalTask(TaskEntry):
    """A task of your own."""

    source: Literal["local"]
    path: str
    """Folder with the task's YAML file."""


class WorldTask(TaskEntry):
    """Walks of the idealised world to be continued."""

    source: Literal["world"]


HarnessTask = Annotated[
    LmEvalTask | LocalTask | WorldTask, Field(discriminator="source"), Brought("source", SOURCES["harness"])
]
