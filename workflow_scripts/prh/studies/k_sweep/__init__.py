"""Alignment as a function of k, from the nearest neighbours to all samples (Figure 10 of the paper uses CKNNA)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prh.core.metrics import METRICS
from prh.studies.base import Study, Target, register

if TYPE_CHECKING:
    from prh.experiment.plan import Plan


def targets(plan: Plan) -> Iterator[Target]:
    """One target per data set with both modalities and metric that uses k, if the experiment has several k."""
    settings = plan.experiment.alignment
    for dataset, models in plan.compared(least=3, controls=False):
        if len(settings.k) > 1 and {"vision", "language"} <= plan.modalities(models):
            for metric in filter(lambda name: METRICS[name].needs_k, settings.metrics):
                yield Target(
                    f"{dataset}/k_sweep_{metric}",
                    rows={"dataset": dataset, "metric": metric},
                    drawing={"standardised": True},
                )


register(Study("k_sweep", targets=targets, reads=("best", "models"), draw="prh.studies.k_sweep.drawing:draw"))
