"""What a study declares, and the registry of studies.

The workflow asks every study which pictures an experiment allows before any job runs. So a study is declared by a light
module, and names the functions that make its table and draw it, which may load whatever they need::

    def targets(plan):
        for dataset, measure, _ in plan.panels():
            yield Target(f"{dataset}/{measure}/spread", rows=plan.rows_of(dataset, measure))

    def draw(best, *, title="spread"):
        figure = matplotlib.figure.Figure()
        figure.subplots().hist(best["score"])
        return figure

    register(Study("spread", targets=targets, reads=("best",), draw=draw))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from prh.experiment.plan import Plan

Function = str | Callable[..., Any]
"""A function, or where it is: ``package.module:function``."""

READABLE = ("best", "models", "scores", "rows", "sweep")
"""What a study can read: the tables of best layer pairs, of models and of scores; all layer pairs of its data set and
metric; the best layer pairs in galleries of growing size.
"""


@dataclass(frozen=True)
class Target:
    """One picture of a study, and its table where the study makes one.

    Attributes
    ----------
    path : str
        Of the picture below ``figures``, and of the table below ``tables``, without an ending.
    rows : mapping
        Which rows of the tables that are read it is about: {column: value}; None for a null.
    table, drawing : mapping
        Further arguments of ``Study.table`` and of ``Study.draw``; JSON values.

    Examples
    --------
    >>> Target("wit/mutual_knn_k10/spread", rows={"dataset": "wit", "metric": "mutual_knn", "k": 10}).drawing
    {}
    """

    path: str
    rows: Mapping[str, Any]
    table: Mapping[str, Any] = field(default_factory=dict)
    drawing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyTables:
    """What a study's ``table`` returns: its rows, its statistics if it has any, and models that are named below.

    Attributes
    ----------
    table : polars.DataFrame
        What is drawn.
    statistics : polars.DataFrame, optional
        What is quoted (schema ``prh.studies.statistics_table.STATISTICS``).
    missing, tied : sequence of str
        Models that are left out for want of a score, and those whose neighbours are largely drawn by lot.

    Examples
    --------
    >>> import polars as pl
    >>> StudyTables(pl.DataFrame({"score": [0.1, 0.2]})).table.height
    2
    """

    table: pl.DataFrame
    statistics: pl.DataFrame | None = None
    missing: Sequence[str] = ()
    tied: Sequence[str] = ()


@dataclass(frozen=True)
class Study:
    """A study, as the workflow knows it.

    Attributes
    ----------
    name : str
        Its own name.
    targets : callable
        The pictures that an experiment allows: from a `prh.experiment.plan.Plan` to targets.
    reads : sequence of str
        The tables that it reads, of `READABLE`: arguments of ``table``, or, without a ``table``, of ``draw``.
    draw : function
        Returns a matplotlib Figure. Its arguments are ``table`` (and ``statistics``, ``missing`` and ``tied`` where
        there are some), as polars frames, and ``Target.drawing``.
    table : function, optional
        Returns `StudyTables` from the tables that are read, as polars frames, and ``Target.table``.
    has_statistics : bool
        Whether these hold statistics, which are a table of their own.

    Examples
    --------
    >>> Study("spread", targets=lambda plan: (), reads=("best",), draw="my_package.spread:draw").table is None
    True
    """

    name: str
    targets: Callable[[Plan], Iterable[Target]]
    reads: Sequence[str]
    draw: Function
    table: Function | None = None
    has_statistics: bool = False


STUDIES: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Make a study known to the workflow.

    Parameters
    ----------
    study : Study
        What it is called, when it applies, what it reads, and how it is made and drawn.

    Returns
    -------
    Study
        The same.

    Raises
    ------
    ValueError
        Its name is taken, or it reads a table that there is none of.

    Examples
    --------
    >>> study = register(Study("an example", targets=lambda plan: (), reads=("best",), draw=print))
    >>> STUDIES.pop("an example") is study
    True
    """
    if study.name in STUDIES:
        raise ValueError(f"there is a study {study.name!r} already; give this one another name.")
    if wrong := [name for name in study.reads if name not in READABLE]:
        raise ValueError(f"study {study.name!r} reads {wrong[0]!r}; it can read {', '.join(READABLE)}.")
    STUDIES[study.name] = study
    return study


def resolved(function: Function) -> Callable[..., Any]:
    """The function itself."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
