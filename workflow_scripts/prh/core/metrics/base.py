"""Base of all metrics: their traits, their registry, and the decorator that lets them take arrays or whole models.

A metric is a function of two ``Representation`` objects that returns the scores of *all* their layer pairs. It does not
see layers that are left out because they are constant: it returns scores for ``len(x)`` layers, and the registered
wrapper fills in NaN for the others.

To add a metric, decorate such a function with ``@metric``; configs can then name it::

    @metric(summary="share of samples with one nearest neighbour", needs="neighbours", symmetric=True, bounded=True)
    def same_nearest(x, y):
        return np.array([[np.mean(a[:, 0] == b[:, 0]) for b in y.knn(1)] for a in x.knn(1)])

This module does not import torch, because reading a config needs the names and traits of the metrics but no arrays.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from prh.core.metrics.representation import Representation, movable
from prh.core.preparation import device_of

__all__ = ["METRICS", "Metric", "Representation", "metric", "movable", "require_paired", "variant"]

Needs = Literal["neighbours", "kernel", "both", "features"]
"""What a metric reads: lists of neighbours, kernels (which features also yield), both of these, or features alone."""
Chance = Callable[["int | None", int], float]
"""Maps k and the number of samples n to the expected score of two unrelated representations."""
Halves = Literal["spread", "contrast"]
"""How the interval of a metric without effects is computed from scores of half-samples (prh.core.intervals)."""


@dataclass(frozen=True)
class Metric:
    """A registered metric: its traits, and the function that scores all layer pairs of two representations.

    Attributes
    ----------
    name, summary : str
        Its name in configs and tables, and what it measures, in a few words.
    needs : {"neighbours", "kernel", "both", "features"}
        What it reads: neighbours, which features and kernels also yield; kernels, which features also yield; both; or
        features, without which it cannot be computed.
    symmetric : bool
        Whether score(x, y) == score(y, x).
    bounded : bool
        Whether it never exceeds 1; a calibrated score is defined only then.
    function : callable
        The public function of the metric.
    options : dict
        Keyword arguments of ``function`` that distinguish a ``variant``.
    per_query : bool
        Whether the contribution of each sample depends on its own neighbours alone.
    chance : callable, optional
        Maps k and n to the expected score of unrelated representations.
    halves : {"spread", "contrast"}
        How its interval is computed from half-samples if it has no effects (``prh.core.intervals``).

    Examples
    --------
    >>> from prh.core.metrics import METRICS
    >>> METRICS["mutual_knn"].needs, METRICS["mutual_knn"].bounded, METRICS["mutual_knn"].needs_k
    ('neighbours', True, True)
    """

    name: str
    summary: str
    needs: Needs
    symmetric: bool
    bounded: bool
    function: Callable[..., Any] = field(repr=False, compare=False)
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    per_query: bool = False
    chance: Chance | None = field(default=None, repr=False, compare=False)
    halves: Halves = "spread"

    @property
    def needs_k(self) -> bool:
        """Whether the metric uses the k nearest neighbours."""
        return "k" in inspect.signature(self.function).parameters

    def scores(self, x: Representation, y: Representation, k: int | None = None) -> np.ndarray:
        """Scores of all layer pairs: float64 [L_x, L_y]; ``k`` is ignored by a metric that does not use neighbours."""
        return self.function(x, y, **({"k": k} if self.needs_k and k is not None else {}), **self.options)


METRICS: dict[str, Metric] = {}


def metric(
    *,
    summary: str,
    needs: Needs,
    symmetric: bool,
    bounded: bool,
    per_query: bool = False,
    chance: Chance | None = None,
    halves: Halves = "spread",
) -> Callable[[Callable], Callable]:
    """Register a function ``f(x, y, k=..., **options)`` of two representations as a metric, under its own name.

    The decorated function accepts two ``Representation`` objects and returns float64 [L_x, L_y]; or two arrays [n, d]
    and returns a float.

    Parameters
    ----------
    summary : str
        What it measures, in a few words.
    needs : {"neighbours", "kernel", "both", "features"}
        What it reads: neighbours, which features and kernels also yield; kernels, which features also yield; both; or
        features, without which it cannot be computed.
    symmetric : bool
        Whether score(x, y) == score(y, x); other metrics are computed in both directions.
    bounded : bool
        Whether it never exceeds 1; a calibrated score is defined only then.
    per_query : bool
        Whether the contribution of each sample depends on its own neighbours alone, so that the queries can be a part
        of the gallery; only such a metric can be swept over n.
    chance : callable, optional
        Maps k and n to the expected score of unrelated representations, which figures draw.
    halves : {"spread", "contrast"}
        How its interval is computed from half-samples if it has no effects (``prh.core.intervals``).

    Returns
    -------
    callable
        A decorator for the function.

    Raises
    ------
    ValueError
        If the name is taken, when the function is decorated.

    Examples
    --------
    >>> import numpy as np
    >>> import prh
    >>> @prh.metric(summary="share with one nearest neighbour", needs="neighbours", symmetric=True, bounded=True)
    ... def same_nearest_of_all(x, y):
    ...     return np.array([[np.mean(a[:, 0] == b[:, 0]) for b in y.knn(1)] for a in x.knn(1)])
    >>> x = prh.prepare(np.random.default_rng(0).normal(size=(50, 8)).astype("float32"))
    >>> same_nearest_of_all(x, x)
    1.0
    """

    def register(function: Callable[..., np.ndarray]) -> Callable:
        @functools.wraps(function)
        def public(x: Any, y: Any, *args: Any, **options: Any) -> float | np.ndarray:
            if isinstance(x, Representation) and isinstance(y, Representation):
                require_paired(x, y)
                require_features(METRICS[name], x, y)
                if not len(x) or not len(y):
                    return np.full((x.total, y.total), np.nan)
                scores = function(x, y, *args, **options)
                require_distinct_ties(x, y)
                return among_all(scores, x, y)
            if isinstance(x, Representation) or isinstance(y, Representation):
                raise ValueError(f"{name} takes two arrays or two representations; wrap the array in a Representation.")
            device = device_of(x, y)
            x, y = Representation("x", [x], device=device), Representation("y", [y], device=device)
            require_paired(x, y)
            score = float(function(x, y, *args, **options)[0, 0])
            if np.isnan(score):
                raise ValueError(
                    f"{function.__name__} of these two arrays is NaN; see its docstring for the inputs it accepts."
                )
            return score

        name = function.__name__
        if name in METRICS:
            raise ValueError(f"there is a metric {name!r} already; give this one another name.")
        METRICS[name] = Metric(
            name, summary, needs, symmetric, bounded, public, per_query=per_query, chance=chance, halves=halves
        )
        return public

    return register


def variant(name: str, of: Callable, *, summary: str, symmetric: bool, bounded: bool, **options: Any) -> None:
    """Register a metric with other options under its own name, so that a config can select it.

    Parameters
    ----------
    name : str
        Name of the variant.
    of : callable
        The registered metric.
    summary, symmetric, bounded
        Traits of the variant, as in ``metric``; the others are those of the metric.
    **options
        Keyword arguments of the metric.

    Examples
    --------
    >>> from prh.core.metrics import METRICS, svcca, variant
    >>> variant("svcca_5", svcca, summary="SVCCA of 5 components", symmetric=True, bounded=True, dims=5)
    >>> METRICS.pop("svcca_5").options
    {'dims': 5}
    """
    base = METRICS[of.__name__]
    traits: dict[str, Any] = {"name": name, "summary": summary, "symmetric": symmetric, "bounded": bounded}
    METRICS[name] = replace(base, **traits, options=options)


def require_paired(x: Representation, y: Representation) -> None:
    """Raise ValueError unless x and y have the same number of samples."""
    if x.n != y.n:
        raise ValueError(
            f"{x.name} has {x.n} samples and {y.name} has {y.n}; their rows must be the same samples in the same order."
        )


def require_features(metric: Metric, *sides: Representation) -> None:
    """Raise ValueError if the metric needs features and a side has kernels instead."""
    if metric.needs != "features":
        return
    for side in sides:
        if side.has_kernels:
            others = ", ".join(sorted(name for name, other in METRICS.items() if other.needs != "features"))
            raise ValueError(
                f"{side.name} is given as kernels, but {metric.name} needs features; pass its features, or use one of "
                f"the metrics that work from kernels: {others}."
            )


def require_distinct_ties(x: Representation, y: Representation) -> None:
    """Raise ValueError if two models with ties share a name, because they would break those ties in the same way."""
    if x.name != y.name or x.root is y.root or None in (x.root._ties, y.root._ties):
        return
    if all(np.max(side.root._ties or 0) > 0 for side in (x, y)):
        raise ValueError(
            f"both models are called {x.name!r} and have ties between equally near samples, which are broken by the "
            "name of the model: chance would look like agreement; give them different names."
        )


def among_all(scores: np.ndarray, x: Representation, y: Representation) -> np.ndarray:
    """Expand ``scores`` of the layers that take part to all layers: float64 [L_x, L_y], NaN where one is left out."""
    if scores.shape == (x.total, y.total):
        return scores
    expanded = np.full((x.total, y.total), np.nan)
    expanded[np.ix_(x.places, y.places)] = scores
    return expanded
