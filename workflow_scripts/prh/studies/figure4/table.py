"""The table of Figure 4: alignment of language models with vision, and their scores on downstream tasks."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from prh.core import statistics
from prh.core.ties import tied_models
from prh.studies.base import StudyTables
from prh.studies.figure3.table import language_with_vision
from prh.studies.pairs import with_setting
from prh.studies.scored_models import one_task, parameters_of, require_models
from prh.studies.statistics_table import permuted, slope_row, statistics_table, trend_row


def table(
    best: pl.DataFrame,
    models: pl.DataFrame,
    scores: pl.DataFrame,
    *,
    tasks: Mapping[str, str],
    reference: str,
    value: str = "score",
    score_metric: str = "bits_per_byte",
    modelling_task: str | None = None,
    permutations: int = 10_000,
    alpha: float = 0.05,
    seed: int = 0,
) -> StudyTables:
    """Does alignment to vision predict downstream scores? Table: one row per (language model, task).

    Columns: task, task_metric, model, family, x (alignment), y (score), stderr, source, shots, parameters,
    rank (1 = fewest bits per byte), monotone (the monotone fit at x), reference, reference_models, and the setting.
    Statistics: one panel per task: Spearman with its p-value, slope, R2 of a line and of the monotone fit.

    Parameters
    ----------
    best
        One row per model pair, of one setting (data set, metric, k, n).
    models
        model and parameters.
    scores
        One row per model and task.
    tasks
        Task name -> metric, such as {"hellaswag": "acc_norm", "gsm8k": "exact_match,strict-match"}; a panel each.
    reference
        The vision family, or single vision model, that language models are compared to; the alignment of a language
        model is the mean over the models of the family.
    value
        The column of ``best`` to show: "score" or "calibrated".
    score_metric, modelling_task
        Metric of the scores by which models are ranked, and the name of the text if there are several.
    permutations, seed
        Permutations of the models for p-values.
    alpha
        Intervals have confidence 1 - alpha.

    Returns
    -------
    StudyTables
        A model that lacks bits per byte or any of the task scores is left out of all panels, so that all panels show
        the same models, and is listed as missing.

    Raises
    ------
    ValueError
        If there is no task, the reference is unknown, or fewer than three models have all scores.
    """
    pairs = language_with_vision(best, value)
    chosen = pairs.filter((pl.col("vision_family") == reference) | (pl.col("vision") == reference))
    if chosen.is_empty():
        known = ", ".join(sorted(pairs["vision_family"].unique()))
        raise ValueError(f"There is no vision model or vision family {reference}; the families are {known}.")
    if not tasks:
        raise ValueError("Figure 4 needs at least one task.")
    aligned = chosen.group_by("language", "language_family").agg(
        x=pl.col("y").mean(), reference_models=pl.len().cast(pl.Int64)
    )
    modelling = one_task(scores, score_metric, modelling_task)
    by_task = {name: one_task(scores, task_metric, name) for name, task_metric in tasks.items()}
    languages = sorted(pairs["language"].unique())
    kept = sorted(set(languages).intersection(modelling["model"], *(frame["model"] for frame in by_task.values())))
    require_models(kept, 3, f"scores on {score_metric}, {', '.join(tasks)}", "figure 4")

    modelling = modelling.filter(pl.col("model").is_in(kept))
    ranked = pl.DataFrame({"model": modelling["model"], "rank": statistics.ranks(-modelling["value"].to_numpy())})
    common = (
        aligned.rename({"language": "model", "language_family": "family"})
        .filter(pl.col("model").is_in(kept))
        .join(ranked, on="model")
        .with_columns(parameters=parameters_of(models, kept, "model"), reference=pl.lit(reference))
    )
    panels, quoted = [], []
    for name, frame in by_task.items():
        panel = common.join(
            frame.select("model", "stderr", "source", "shots", task="task", task_metric="metric", y="value"), on="model"
        ).sort("x", "model")
        fitted, monotone_r2 = statistics.monotone_fit(panel["x"], panel["y"])
        panels.append(panel.with_columns(monotone=pl.Series(fitted)))
        quoted += _downstream_rows(name, panel, monotone_r2, permutations, alpha, seed)
    return StudyTables(
        with_setting(pl.concat(panels), pairs, value),
        statistics_table(quoted),
        missing=sorted(set(languages) - set(kept)),
        tied=tied_models(best),
    )


def _downstream_rows(
    task: str, panel: pl.DataFrame, monotone_r2: float, permutations: int, alpha: float, seed: int
) -> list[dict]:
    x, y = panel["x"].to_numpy(), panel["y"].to_numpy()
    trend = statistics.qap_rows(y[:, None], x, permutations=permutations, seed=seed)
    line = statistics.linear_fit(x, y)
    n = len(x)
    return [
        trend_row(task, None, trend, n, f"{permuted(trend)} of language models"),
        slope_row(task, None, line, alpha),
        {"panel": task, "statistic": "R2 linear", "value": line.r2, "n": n, "method": "least squares"},
        {"panel": task, "statistic": "R2 monotone", "value": monotone_r2, "n": n, "method": "isotonic regression"},
    ]
