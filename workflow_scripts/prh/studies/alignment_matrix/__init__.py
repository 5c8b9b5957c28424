"""Alignment of all pairs of models at their best pair of layers, as a heat map model x model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set and measure, and one for its calibrated scores if there are any."""
    for dataset, measure, _ in plan.panels():
        for value, ending in plan.values(measure).items():
            yield Target(
                f"{dataset}/{measure}/alignment_matrix{ending}",
                rows=plan.rows_of(dataset, measure),
                drawing={"value": value, "alpha": plan.alpha},
            )


register(
    Study(
        "alignment_matrix",
        targets=targets,
        reads=("best", "models"),
        draw="prh.studies.alignment_matrix.drawing:draw",
    )
)
