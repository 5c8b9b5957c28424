"""Checks that a data set has enough samples for the metrics and settings of an experiment."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from prh.core.metrics import METRICS

UNBIASED = 4
"""Fewest samples for an unbiased estimate of the HSIC, which divides by n - 3 (Song et al. 2012)."""
FEWEST = 3
"""Fewest samples for any other metric: two points have only one distance, so they agree in every space."""


def require(n: int, metric: str, k: Sequence[int] = (), *, halved: bool = False) -> None:
    """Raise ValueError, naming the setting to change, if ``n`` samples are too few for ``metric``.

    ``k``: numbers of neighbours, for metrics that use them. ``halved``: whether the metric is also computed on halves
    of the samples (alignment.subsamples, alignment.splits).
    """
    if message := mistake(n, metric, k, halved=halved):
        raise ValueError(message)


def mistake(n: int, metric: str, k: Sequence[int] = (), *, halved: bool = False) -> str | None:
    """The message of the error that `require` raises; None if there are enough samples."""
    needed, setting, change = _fewest(metric), f"the metric {metric}", "leave it out"
    if METRICS[metric].needs_k and k and max(k) + 1 >= needed:
        needed, setting, change = max(k) + 1, f"alignment.k = {max(k)} of {metric}", "lower alignment.k"
    if n < needed:
        return f"{setting} needs at least {needed} samples, but there are {n}; {change}, or use more samples."
    if halved and n // 2 < needed:
        return (
            f"{setting} needs at least {needed} samples, but alignment.subsamples and alignment.splits compute it on "
            f"halves of the {n} samples ({n // 2}); {change}, set subsamples and splits to 0, or use more samples."
        )
    return None


def _fewest(metric: str) -> int:
    """The fewest samples for which a metric is defined, apart from what k requires."""
    entry = METRICS[metric]
    parameters = inspect.signature(entry.function).parameters
    options = {name: parameter.default for name, parameter in parameters.items()} | entry.options
    if "dims" in options:  # n centred samples have at most n - 1 components
        return int(options["dims"]) + 1
    return UNBIASED if "biased" in metric or metric.startswith("cknna") else FEWEST
