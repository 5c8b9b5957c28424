"""How a list of an experiment includes entries of a registry (prh/experiment/registries.py)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from prh.experiment.schema.base import Section

LISTS = ("datasets", "models", "probes", "texts", "harness")
"""The lists that experiments and registries have."""


class From(Section):
    """Include entries of a registry, a YAML file with the same lists as an experiment."""

    file: Annotated[str, Field(alias="from")]
    """The file, relative to the folder where snakemake runs."""
    only: list[str] | None = None
    """Names of the entries to take (null: all)."""
    without: list[str] = []
    """Names of entries to leave out."""
    set: dict[str, object] = {}
    """Keys to set in every included entry."""
