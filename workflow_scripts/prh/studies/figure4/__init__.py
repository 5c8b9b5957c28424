"""Figure 4 of the paper: does alignment to vision predict what a language model can do?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register
from prh.studies.figure3 import scored_panels

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set and measure that Figure 3 applies to, if the experiment has tasks of lm-eval."""
    tasks = {name: task.metric for name, task in plan.harness.items()}
    for dataset, measure, text in scored_panels(plan):
        if not tasks:
            continue
        last = plan.models[plan.of_modality("vision", plan.models_of(dataset))[-1]]
        reference = plan.experiment.figures.reference or last.family or last.name
        for value, ending in plan.values(measure).items():
            yield Target(
                f"{dataset}/{measure}/figure4{ending}",
                rows=plan.rows_of(dataset, measure),
                table={
                    "value": value,
                    "modelling_task": text,
                    "tasks": tasks,
                    "reference": reference,
                    "alpha": plan.alpha,
                },
                drawing={"alpha": plan.alpha},
            )


register(
    Study(
        "figure4",
        targets=targets,
        reads=("best", "models", "scores"),
        table="prh.studies.figure4.table:table",
        has_statistics=True,
        draw="prh.studies.figure4.drawing:draw",
    )
)
