"""Figure 2 of the paper: do vision models that solve more tasks agree more?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set and measure with at least three vision models, if the experiment has probes."""
    for dataset, measure, models in plan.panels(controls=False):
        if not plan.experiment.probes or len(plan.of_modality("vision", models)) < 3:
            continue
        for value, ending in plan.values(measure).items():
            yield Target(
                f"{dataset}/{measure}/figure2{ending}",
                rows=plan.rows_of(dataset, measure),
                table={"value": value, "alpha": plan.alpha},
                drawing={"tasks": plan.experiment.figures.tasks, "alpha": plan.alpha},
            )


register(
    Study(
        "figure2",
        targets=targets,
        reads=("best", "scores"),
        table="prh.studies.figure2.table:table",
        has_statistics=True,
        draw="prh.studies.figure2.drawing:draw",
    )
)
