"""Figure 3 of the paper: do language models that model text better align more with vision?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set and measure with three scored language models and a vision model, if there is a text."""
    for dataset, measure, text in scored_panels(plan):
        for value, ending in plan.values(measure).items():
            yield Target(
                f"{dataset}/{measure}/figure3{ending}",
                rows=plan.rows_of(dataset, measure),
                table={"value": value, "task": text, "alpha": plan.alpha},
                drawing={"alpha": plan.alpha},
            )


def scored_panels(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(data set, measure, text) with three language models scored in bits per byte on the text and a vision model."""
    text = plan.experiment.figures.text or next(iter(plan.texts), None)
    for dataset, measure, models in plan.panels(controls=False):
        scored = set(models).intersection(plan.scored())
        if text and len(scored) >= 3 and plan.of_modality("vision", models):
            yield dataset, measure, text


register(
    Study(
        "figure3",
        targets=targets,
        reads=("best", "models", "scores"),
        table="prh.studies.figure3.table:table",
        has_statistics=True,
        draw="prh.studies.figure3.drawing:draw",
    )
)
