"""Do the metrics rank model pairs in the same way? (Figure 12 of the paper)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set with at least three models, if the experiment has several metrics."""
    if len(plan.experiment.alignment.metrics) > 1:
        for dataset, _ in plan.compared(least=3, controls=False):
            yield Target(f"{dataset}/metric_correlation", rows={"dataset": dataset})


register(
    Study(
        "metric_correlation",
        targets=targets,
        reads=("best",),
        table="prh.studies.metric_correlation.table:table",
        draw="prh.studies.metric_correlation.drawing:draw",
    )
)
