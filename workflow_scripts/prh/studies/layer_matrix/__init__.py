"""At which depths two models agree: a heat map layer x layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """Per data set and measure, one target for the pair that aligns most and one for each pair the experiment names."""
    chosen = {f"{x}__{y}": [x, y] for x, y in plan.experiment.figures.layer_pairs}
    for dataset, measure, models in plan.panels():
        for name, pair in {"strongest": [], **chosen}.items():
            if set(pair) <= set(models):
                yield Target(
                    f"{dataset}/{measure}/layer_matrix_{name}",
                    rows=plan.rows_of(dataset, measure),
                    table={"pair": pair},
                    drawing={"metric": plan.measures[measure]["metric"]},
                )


register(
    Study(
        "layer_matrix",
        targets=targets,
        reads=("best", "rows"),
        table="prh.studies.layer_matrix.table:table",
        draw="prh.studies.layer_matrix.drawing:draw",
    )
)
