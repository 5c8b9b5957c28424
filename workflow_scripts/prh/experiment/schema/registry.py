"""How an experiment takes entries of a registry (prh/experiment/registries.py) into one of its lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from prh.experiment.schema.base import Section

LISTS = ("datasets", "models", "probes", "texts", "harness")
"""The lists of an experiment, which are those of a registry too."""


class From(Section):
    """Entries of a registry: a YAML file with the same lists as an experiment. It stands in a list for many entries."""

    file: Annotated[str, Field(alias="from")]
    """The file, relative to the folder where snakemake runs."""
    only: list[str] | None = None
    """Names of the entries to take (null: all)."""
    without: list[str] = []
    """Names of entries to leave out."""
    set: dict[str, object] = {}
    """Keys with which every taken entry is changed."""
