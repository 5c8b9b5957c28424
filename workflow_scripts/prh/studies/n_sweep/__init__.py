"""Alignment as a function of the number of samples, raw and calibrated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set and measure that is swept over n, if the experiment names sizes."""
    for dataset, measure, _ in plan.panels():
        if plan.is_swept(measure):
            yield Target(f"{dataset}/{measure}/n_sweep", rows=plan.rows_of(dataset, measure))


register(Study("n_sweep", targets=targets, reads=("sweep",), draw="prh.studies.n_sweep.drawing:draw"))
