"""The table of Figure 2: tasks solved by vision models, their positions on a map, and alignment within bins."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl

from prh.core import statistics
from prh.core.ties import tied_models
from prh.studies.base import StudyTables
from prh.studies.pairs import families, one_setting, require_complete, square, with_setting, within_modality
from prh.studies.scored_models import one_per_model_task, require_models, solved
from prh.studies.statistics_table import percent, permuted, statistics_table, trend_row


def table(
    best: pl.DataFrame,
    scores: pl.DataFrame,
    *,
    value: str = "score",
    score_metric: str = "top1",
    bins: int = 5,
    permutations: int = 10_000,
    alpha: float = 0.05,
    seed: int = 0,
) -> StudyTables:
    """Do vision models that solve more tasks agree more? Table: one row per vision model.

    Columns: model, family, solved, tasks, bin (0 ... bins - 1, of equal width in the share of tasks solved), bins,
    average (mean score over tasks), map_x, map_y (UMAP of -log alignment; null below four models), and the setting.
    Statistics: panel ``bins``: mean alignment within each bin; panel ``all``: trend over all pairs of alignment with
    the smaller count of solved tasks of the pair (QAP).

    Parameters
    ----------
    best
        One row per model pair, of one setting (data set, metric, k, n).
    scores
        One row per model and task.
    value
        The column of ``best`` to show: "score" or "calibrated".
    score_metric
        Metric of the task scores to use.
    bins
        Number of bins.
    permutations, seed
        Permutations of the models for the p-value of the trend; ``seed`` is also used for the map.
    alpha
        Intervals have confidence 1 - alpha.

    Returns
    -------
    StudyTables
        A model that lacks a score on any task is left out and listed as missing.

    Raises
    ------
    ValueError
        If fewer than three models have scores on all tasks.
    """
    pairs = within_modality(one_setting(best, value), "vision", value)
    task_scores = one_per_model_task(scores.filter(pl.col("metric") == score_metric))
    models = sorted({*pairs["model_x"], *pairs["model_y"]})
    tasks = task_scores.filter(pl.col("model").is_in(models))["task"].unique().to_list()
    complete = (
        task_scores.filter(pl.col("task").is_in(tasks))
        .group_by("model")
        .agg(pl.len().alias("scored"), pl.col("value").mean().alias("average"))
        .filter(pl.col("scored") == len(tasks))
    )
    kept = [m for m in models if m in set(complete["model"])]
    require_models(kept, 3, f"{score_metric} scores on all {len(tasks)} tasks", "figure 2")
    alignment = square(pairs, kept, "y")
    require_complete(np.where(np.tri(len(kept), dtype=bool), 0, alignment), kept, kept)  # each pair once
    positions = model_map(alignment, seed=seed)
    counts = solved(task_scores.filter(pl.col("model").is_in(kept)))
    rows = (
        pl.DataFrame({"model": kept, "map_x": positions[:, 0], "map_y": positions[:, 1]})
        .with_columns(pl.col("map_x", "map_y").fill_nan(None))
        .join(families(pairs), on="model")
        .join(counts, on="model")
        .join(complete.select("model", "average"), on="model")
        .with_columns(
            bin=(pl.col("solved") * bins // pl.col("tasks")).clip(0, bins - 1).cast(pl.Int32), bins=pl.lit(bins)
        )
        .sort("model")
    )
    quoted = [*_bin_rows(rows, alignment, bins, alpha), _solved_trend(rows, alignment, permutations, seed)]
    return StudyTables(
        with_setting(rows, pairs, value),
        statistics_table(quoted),
        missing=[m for m in models if m not in kept],
        tied=tied_models(best),
    )


def model_map(alignment: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Two-dimensional UMAP of models with distance -log(alignment): float64 [models, 2], NaN for fewer than four
    models.

    ``alignment`` is symmetric [models, models]; its diagonal is ignored. An alignment of zero or less, whose distance
    would be infinite, counts as half of the smallest positive one. Raises ValueError if none is positive.
    """
    models = len(alignment)
    if models < 4:
        return np.full((models, 2), np.nan)
    off_diagonal = ~np.eye(models, dtype=bool)
    positive = alignment[off_diagonal & (alignment > 0)]
    if not positive.size:
        raise ValueError("No two models have a positive alignment, so a map of them cannot be drawn.")
    from umap import UMAP  # slow to import, and only figure 2 needs it

    distance = np.zeros_like(alignment)
    distance[off_diagonal] = -np.log(np.clip(alignment[off_diagonal], positive.min() / 2, 1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="using precomputed metric; inverse_transform will be unavailable")
        reducer = UMAP(
            metric="precomputed",
            n_neighbors=min(15, models - 1),
            init="spectral" if models > 10 else "random",  # spectral initialisation needs more points than dimensions
            random_state=seed,
            n_jobs=1,
        )
        return reducer.fit_transform(distance).astype(np.float64)


def _bin_rows(table: pl.DataFrame, alignment: np.ndarray, bins: int, alpha: float) -> list[dict]:
    """Rows with the mean alignment within each bin of at least two models."""
    rows = []
    names, bin_of = table["model"].to_list(), table["bin"].to_numpy()
    for index in range(bins):
        members = np.flatnonzero(bin_of == index)
        if len(members) < 2:
            continue
        left, right = (members[side] for side in np.triu_indices(len(members), 1))
        mean = statistics.pair_mean(
            alignment[left, right], [names[i] for i in left], [names[i] for i in right], confidence=1 - alpha
        )
        rows.append(
            {
                "panel": "bins",
                "group": str(index),
                "statistic": "mean alignment",
                "value": mean.mean,
                "stderr": mean.stderr,
                "low": mean.low,
                "high": mean.high,
                "n": mean.models,
                "method": _mean_method(mean, alpha),
            }
        )
    return rows


def _mean_method(mean: statistics.PairMean, alpha: float) -> str:
    pairs = "1 pair" if mean.pairs == 1 else f"{mean.pairs} pairs; stderr as if independent"
    interval = (
        f"no interval: {mean.no_interval}" if mean.no_interval else f"{percent(alpha)} jackknife interval over models"
    )
    return f"mean of {pairs}; {interval}"


def _solved_trend(table: pl.DataFrame, alignment: np.ndarray, permutations: int, seed: int) -> dict:
    counts = table["solved"].to_numpy()
    trend = statistics.qap_square(alignment, np.minimum.outer(counts, counts), permutations=permutations, seed=seed)
    method = f"all pairs, with the smaller count of solved tasks; {permuted(trend)} of models (QAP)"
    return trend_row("all", None, trend, len(counts), method)
