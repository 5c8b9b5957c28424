"""What every metric stands on: traits, a registry, and one way to call it on arrays or on whole models.

A metric is one function of two ``Representation`` objects that returns the scores of *all* their layer pairs. Layers
that are left out (the same for all samples) are nothing to it: it sees ``len(x)`` layers, and the function registered
for it puts its scores in their places among all layers.

To add a metric, write that function under ``@metric``; the workflow's configuration then knows it by its name::

    @metric(summary="share of samples with one nearest neighbour", needs="neighbours", symmetric=True, bounded=True)
    def same_nearest(x, y):
        return np.array([[np.mean(a[:, 0] == b[:, 0]) for b in y.knn(1)] for a in x.knn(1)])

This module does not import torch: the names and traits of the metrics are needed where no array is (reading a config).
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

Needs = Literal["neighbours", "features", "both"]
Chance = Callable[["int | None", int], float]
"""From k and the number of samples n to the expected score of two representations that have nothing in common."""
Halves = Literal["spread", "contrast"]
"""What of the scores of half-samples the interval of a metric without effects is taken from (prh.core.intervals)."""


@dataclass(frozen=True)
class Metric:
    """A registered metric: its traits, and the function that scores all layer pairs of two representations."""

    name: str
    summary: str
    needs: Needs  # what a representation must hold
    symmetric: bool  # score(x, y) == score(y, x)
    bounded: bool  # never above 1: only then is a calibrated score defined
    function: Callable[..., np.ndarray] = field(repr=False, compare=False)
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    per_query: bool = False  # each sample's part of the score comes from its own neighbours alone
    chance: Chance | None = field(default=None, repr=False, compare=False)
    halves: Halves = "spread"

    @property
    def needs_k(self) -> bool:
        """Whether the metric looks at the k nearest neighbours."""
        return "k" in inspect.signature(self.function).parameters

    def scores(self, x: Representation, y: Representation, k: int | None = None) -> np.ndarray:
        """Scores of all layer pairs, float64 [L_x, L_y]; ``k`` is ignored by a metric without neighbours."""
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
    """Register a function ``f(x, y, k=..., **options)`` of two representations, under its own name.

    The public function that it becomes takes two arrays [n, d] and returns a float as well as two ``Representation``
    objects and returns float64 [L_x, L_y].

    Parameters
    ----------
    summary : str
        What it measures, in a few words.
    needs : {"neighbours", "features", "both"}
        What a representation must hold.
    symmetric : bool
        Whether score(x, y) == score(y, x); other metrics are computed both ways round.
    bounded : bool
        Whether it is never above 1: only then is a calibrated score defined.
    per_query : bool
        Whether each sample's part of the score comes from its own neighbours alone, so that queries can be fewer than
        the gallery: such a metric can be swept over n.
    chance : callable, optional
        From k and n to the expected score of representations that have nothing in common; figures draw it.
    halves : {"spread", "contrast"}
        How the interval of a metric without effects is made of half-samples (``prh.core.intervals``).

    Raises
    ------
    ValueError
        The name is taken.

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
                if not len(x) or not len(y):
                    return np.full((x.total, y.total), np.nan)
                scores = function(x, y, *args, **options)
                require_own_lots(x, y)
                return among_all(scores, x, y)
            device = device_of(x, y)
            x, y = Representation("x", [x], device=device), Representation("y", [y], device=device)
            require_paired(x, y)
            score = float(function(x, y, *args, **options)[0, 0])
            if np.isnan(score):
                raise ValueError(
                    f"{function.__name__} of these two arrays is not a number; see the ranges in its docstring."
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
    """Register a metric with other ``options`` under a name of its own, so that a config can ask for it."""
    base = METRICS[of.__name__]
    traits = {"name": name, "summary": summary, "symmetric": symmetric, "bounded": bounded}
    METRICS[name] = replace(base, **traits, options=options)


def require_paired(x: Representation, y: Representation) -> None:
    """Raise ValueError unless x and y hold the same number of samples."""
    if x.n != y.n:
        raise ValueError(
            f"{x.name} has {x.n} samples and {y.name} has {y.n}; their rows must be the same samples, in order."
        )


def require_own_lots(x: Representation, y: Representation) -> None:
    """Raise ValueError if two models break their ties alike: they have one name, and ties."""
    if x.name != y.name or x.root is y.root or None in (x.root._ties, y.root._ties):
        return
    if all(np.max(side.root._ties) > 0 for side in (x, y)):
        raise ValueError(
            f"both models are called {x.name!r} and hold equally near samples, which stand in an order drawn by the "
            "model's name: chance would look like agreement; give them two names."
        )


def among_all(scores: np.ndarray, x: Representation, y: Representation) -> np.ndarray:
    """``scores`` of the layers that take part, among all layers: float64 [L_x, L_y], NaN where one is left out."""
    if scores.shape == (x.total, y.total):
        return scores
    whole = np.full((x.total, y.total), np.nan)
    whole[np.ix_(x.places, y.places)] = scores
    return whole
