"""Alignment of each language model with the vision models of each family."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set and measure with models of both modalities."""
    for dataset, measure, models in plan.panels():
        if {"vision", "language"} <= plan.modalities(models):
            yield Target(f"{dataset}/{measure}/cross_modal", rows=plan.rows_of(dataset, measure))


register(Study("cross_modal", targets=targets, reads=("best", "models"), draw="prh.studies.cross_modal.drawing:draw"))
