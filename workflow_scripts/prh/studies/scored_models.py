"""What models can do, as studies need it: one score for each model and task, and how many tasks a model solves."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from prh.competence.scores import MEASURED

SOLVED_SHARE = 0.8


def solved(scores: pl.DataFrame, share: float = SOLVED_SHARE) -> pl.DataFrame:
    """How many tasks each model solves: a task is solved at ``share`` of the best model's value on it or more.

    scores: one row per (model, task) with columns model, task, value (accuracy, 0 to 1).
    Returns model, solved (count), tasks (how many the model has a score for), sorted by model.
    Raises ValueError for a missing column, NaN, or a (model, task) given twice.
    """
    _require_scores(scores, {"model", "task", "value"})
    twice = scores.filter(pl.struct("model", "task").is_duplicated())
    if twice.height:
        model, task = twice.select("model", "task").row(0)
        raise ValueError(f"The scores hold model {model} on task {task} more than once; keep one row of each.")
    best = pl.col("value").max().over("task")
    return (
        scores.with_columns(ok=pl.col("value") >= share * best)
        .group_by("model")
        .agg(solved=pl.col("ok").sum().cast(pl.Int64), tasks=pl.len().cast(pl.Int64))
        .sort("model")
    )


def _require_scores(scores: pl.DataFrame, columns: set[str]) -> None:
    """Raise ValueError for a missing column, and for a value that is NaN or missing."""
    if lacking := columns - set(scores.columns):
        raise ValueError(f"The scores lack the column {', '.join(sorted(lacking))}.")
    if scores.filter(~pl.col("value").is_finite().fill_null(False)).height:
        raise ValueError("The scores hold a value that is NaN or missing; leave that row out or measure it again.")


def one_per_model_task(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per (model, task): what was measured stands before what was published."""
    _require_scores(scores, {"model", "task", "metric", "value", "source"})
    twice = scores.filter(pl.struct("model", "task", "metric", "source").is_duplicated())
    if twice.height:
        model, task = twice.select("model", "task").row(0)
        raise ValueError(f"The scores hold model {model} on task {task} twice from one source; keep one row.")
    first = scores.sort(pl.col("source") != MEASURED, "source", maintain_order=True)
    return first.unique(["model", "task", "metric"], keep="first", maintain_order=True)


def one_task(scores: pl.DataFrame, metric: str, task: str | None) -> pl.DataFrame:
    """The score of each model by ``metric`` on one task, which must be named where there are several."""
    chosen = one_per_model_task(scores.filter(pl.col("metric") == metric))
    if task is not None:
        chosen = chosen.filter(pl.col("task") == task)
    tasks = chosen["task"].unique().sort().to_list()
    if len(tasks) > 1:
        raise ValueError(f"The scores hold {metric} on several tasks ({', '.join(tasks)}); name one.")
    optional = [
        pl.lit(None, t).alias(c) for c, t in (("stderr", pl.Float64), ("shots", pl.Int64)) if c not in chosen.columns
    ]
    return chosen.with_columns(*optional)


def parameters_of(models: pl.DataFrame, names: Sequence[str], column: str) -> pl.Expr:
    """The number of parameters of the model that stands in ``column``, for any of ``names``; ValueError if not known.

    models: the table of models, with columns model and parameters.
    """
    known = dict(models.select("model", "parameters").drop_nulls().iter_rows())
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"The number of parameters of {', '.join(unknown)} is not known; extract its features again.")
    return pl.col(column).replace_strict({name: int(known[name]) for name in names}, return_dtype=pl.Int64)


def require_models(kept: Sequence[str], least: int, what: str, figure: str) -> None:
    """Raise ValueError for fewer models with scores than a figure needs."""
    if len(kept) < least:
        raise ValueError(f"{figure.capitalize()} needs at least {least} models with {what}; there are {len(kept)}.")
