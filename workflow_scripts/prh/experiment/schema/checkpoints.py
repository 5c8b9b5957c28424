"""Checkpoints of a training run, as an entry of a model lists them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictInt, StrictStr

from prh.experiment.schema.base import Section


class CheckpointAt(Section):
    """A checkpoint whose step is given because its name does not tell it."""

    step: Annotated[int, Field(ge=0)]
    """Steps of training before it."""
    revision: str | None = None
    """hub: its commit, branch or tag."""
    path: str | None = None
    """local: its folder or file."""


def _listed(raw: Any) -> Any:
    """``raw`` as a list, after checking that it names checkpoints; null stays null."""
    if raw is None:
        return None
    if isinstance(raw, dict) and set(raw) == {"path"}:
        raw = raw["path"]
    values = raw if isinstance(raw, list) else [raw]
    if not values:
        raise ValueError("it is empty; list a step, a revision or a path at least, or leave it out")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | str | dict | CheckpointAt) or value == "":
            raise ValueError(f"{value!r} is no checkpoint; list whole numbers, names, or {{step: ..., revision: ...}}")
        if isinstance(value, dict) and not ("step" in value and set(value) <= set(CheckpointAt.model_fields)):
            raise ValueError(f"{value} must have the keys step and revision, or step and path, and no other")
        step = value.get("step") if isinstance(value, dict) else value
        if isinstance(value, dict) and (isinstance(step, bool) or not isinstance(step, int)):
            raise ValueError(f"the step {step!r} is no whole number")
        if isinstance(step, int) and step < 0:
            raise ValueError(f"{step} is no step; steps are counted from 0")
    return values


Checkpoints = Annotated[list[StrictInt | StrictStr | CheckpointAt], BeforeValidator(_listed)]
