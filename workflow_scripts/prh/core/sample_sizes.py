"""How many samples the settings of an experiment need, and which of them do not fit so few."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from prh.core.metrics import METRICS

UNBIASED = 4
"""Samples that an unbiased estimate of the HSIC needs (Song et al. 2012: it divides by n - 3)."""
FEWEST = 3
"""Samples that any metric needs: two points are alike in every space."""


def require(n: int, metric: str, k: Sequence[int] = (), *, halved: bool = False) -> None:
    """Raise ValueError naming the settings that do not fit ``n`` samples.

    ``k``: numbers of neighbours, for metrics that look at them. ``halved``: whether the metric is measured on halves of
    the samples too (alignment.subsamples, alignment.splits).
    """
    if sentence := mistake(n, metric, k, halved=halved):
        raise ValueError(sentence)


def mistake(n: int, metric: str, k: Sequence[int] = (), *, halved: bool = False) -> str | None:
    """The sentence of `require`; None where the settings fit."""
    needed, why, change = _fewest(metric), f"the metric {metric}", "leave it out"
    if METRICS[metric].needs_k and k and max(k) + 1 >= needed:
        needed, why, change = max(k) + 1, f"alignment.k = {max(k)} of {metric}", "lower alignment.k"
    if n < needed:
        return f"{why} needs at least {needed} samples and there are {n}; {change}, or take more samples."
    if halved and n // 2 < needed:
        return (
            f"{why} needs at least {needed} samples, and alignment.subsamples and alignment.splits measure it on "
            f"halves of the {n} there are ({n // 2}); {change}, set subsamples and splits to 0, or take more samples."
        )
    return None


def _fewest(metric: str) -> int:
    """The fewest samples for which a metric is defined, neighbours aside."""
    entry = METRICS[metric]
    parameters = inspect.signature(entry.function).parameters
    options = {name: parameter.default for name, parameter in parameters.items()} | entry.options
    if "dims" in options:  # components, fewer than samples
        return int(options["dims"]) + 1
    return UNBIASED if "biased" in metric or metric.startswith("cknna") else FEWEST
