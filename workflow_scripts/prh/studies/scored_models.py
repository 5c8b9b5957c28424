"""Scores of models as the studies need them: one per model and task, and how many tasks a model solves."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from prh.competence.scores import MEASURED

SOLVED_SHARE = 0.8


def solved(scores: pl.DataFrame, share: float = SOLVED_SHARE) -> pl.DataFrame:
    """How many tasks each model solves; a model solves a task if it reaches ``share`` of the best model's value on it.

    Parameters
    ----------
    scores : polars.DataFrame
        One row per (model, task): model, task, value (accuracy, 0 to 1).
    share : float
        From 0 to 1.

    Returns
    -------
    polars.DataFrame
        model, solved (count), tasks (number of tasks with a score), sorted by model.

    Raises
    ------
    ValueError
        For a missing column, NaN, or a (model, task) that occurs twice.
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
    """Raise ValueError for a missing column, or a value that is NaN or null."""
    if lacking := columns - set(scores.columns):
        raise ValueError(f"The scores lack the column {', '.join(sorted(lacking))}.")
    bad = scores.filter(~pl.col("value").is_finite().fill_null(False))
    if bad.height:
        model, task = bad.select("model", "task").row(0)
        raise ValueError(f"The score of {model} on task {task} is NaN or missing; leave it out or measure it again.")


def one_per_model_task(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per (model, task, metric); a measured score takes precedence over a published one."""
    _require_scores(scores, {"model", "task", "metric", "value", "source"})
    twice = scores.filter(pl.struct("model", "task", "metric", "source").is_duplicated())
    if twice.height:
        model, task = twice.select("model", "task").row(0)
        raise ValueError(f"The scores hold model {model} on task {task} twice from one source; keep one row.")
    first = scores.sort(pl.col("source") != MEASURED, "source", maintain_order=True)
    return first.unique(["model", "task", "metric"], keep="first", maintain_order=True)


def one_task(scores: pl.DataFrame, metric: str, task: str | None) -> pl.DataFrame:
    """The score of each model by ``metric`` on one task; ValueError if there are several and ``task`` is None."""
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
    """An expression that maps the model names in ``column`` to their numbers of parameters.

    ``models`` is the table of models, with columns model and parameters. Raises ValueError if the number of any of
    ``names`` is unknown.
    """
    known = dict(models.select("model", "parameters").drop_nulls().iter_rows())
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"The number of parameters of {', '.join(unknown)} is not known; extract its features again.")
    return pl.col(column).replace_strict({name: int(known[name]) for name in names}, return_dtype=pl.Int64)


def require_models(kept: Sequence[str], least: int, what: str, figure: str) -> None:
    """Raise ValueError if fewer models than a figure needs have the required scores."""
    if len(kept) < least:
        raise ValueError(f"{figure.capitalize()} needs at least {least} models with {what}; there are {len(kept)}.")
