"""Trajectories: does a model agree more with others, and with reality, the longer it is trained?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set and measure on which a training run has three checkpoints and something to compare."""
    for dataset, measure, models in plan.panels():
        runs = {
            run: steps
            for run, steps in plan.trajectories(dataset).items()
            if plan.modalities(models) - {plan.models[next(iter(steps))].modality}
        }
        if not runs:
            continue
        for value, ending in plan.values(measure).items():
            yield Target(
                f"{dataset}/{measure}/trajectory{ending}",
                rows=plan.rows_of(dataset, measure),
                table={"value": value, "runs": runs},
            )


register(
    Study(
        "trajectory",
        targets=targets,
        reads=("best", "models", "scores"),
        table="prh.studies.trajectory.table:table",
        has_statistics=True,
        draw="prh.studies.trajectory.drawing:draw",
        checkpoints=True,
    )
)
