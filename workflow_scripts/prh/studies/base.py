"""The declaration of a study, and the registry of studies.

Before any job runs, the workflow asks every study which figures it can make for an experiment. So a study is declared
in a module that imports little, and refers by name to the functions that make its table and draw it::

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
from typing import TYPE_CHECKING, Any

from prh.io.functions import Function

if TYPE_CHECKING:
    import polars as pl

    from prh.experiment.plan import Plan
READABLE = ("best", "models", "scores", "rows", "sweep")
"""Tables that a study can read: best layer pairs, models, scores, all layer pairs of its data set and metric, and best
layer pairs in galleries of growing size.
"""


@dataclass(frozen=True)
class Target:
    """One figure of a study, and its table if the study makes one.

    Attributes
    ----------
    path : str
        Path of the figure below ``figures`` and of the table below ``tables``, without a suffix.
    rows : mapping
        Selects rows of the alignment tables that are read: {column: value}, None for null.
    table, drawing : mapping
        Further keyword arguments of ``Study.table`` and ``Study.draw``; JSON values.

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
    """The result of ``Study.table``: a table, its statistics if it has any, and models to mention below the figure.

    Attributes
    ----------
    table : polars.DataFrame
        The data to draw.
    statistics : polars.DataFrame, optional
        The statistics to quote (schema ``prh.studies.statistics_table.STATISTICS``).
    missing, tied : sequence of str
        Models left out because they lack a score, and models with many ties among their neighbours.

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
    """A study: which figures it can make, what it reads, and the functions that make its table and draw it.

    Attributes
    ----------
    name : str
        Unique name of the study.
    targets : callable
        Maps a `prh.experiment.plan.Plan` to the targets that the study can make for it.
    reads : sequence of str
        The tables that it reads, from `READABLE`. They are passed, as polars frames, to ``table``, or to ``draw`` if
        there is no ``table``.
    draw : function, or str
        Returns a matplotlib Figure. Its arguments are the tables read, or ``table`` with (if present) ``statistics``,
        ``missing`` and ``tied``; and ``Target.drawing``. A string is an import path, ``package.module:function``.
    table : function, or str, optional
        Returns `StudyTables`. Its arguments are the tables read and ``Target.table``.
    has_statistics : bool
        Whether its `StudyTables` have statistics, which are written as a separate table.
    checkpoints : bool
        Whether the rows about checkpoints (``name@step``) of training runs are among those that it reads.

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
    checkpoints: bool = False


STUDIES: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Make a study known to the workflow.

    Parameters
    ----------
    study : Study
        The study to add.

    Returns
    -------
    Study
        The same study.

    Raises
    ------
    ValueError
        If its name is taken, or it reads a table that does not exist.

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
