"""Rank correlations between metrics."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import polars as pl
from scipy import stats

from prh.studies.base import StudyTables


def table(best: pl.DataFrame) -> StudyTables:
    """The table of `metric_correlations`."""
    return StudyTables(metric_correlations(best))


def metric_correlations(best: pl.DataFrame) -> pl.DataFrame:
    """Spearman rank correlation of all pairs of metrics over the model pairs that both have scored.

    Parameters
    ----------
    best
        One row per model pair and metric, of a single data set and n: dataset, metric, k, n, model_x, model_y, score.
        A metric with several k counts as several metrics, named metric@k.

    Returns
    -------
    polars.DataFrame
        One row per pair of metrics (metric_x, metric_y, spearman, p, pairs), including each metric with itself, in
        order of appearance. spearman is null for fewer than three common model pairs, or if a metric is constant over
        them.

    Raises
    ------
    ValueError
        If a column is missing, or the table is empty, mixes data sets or n, or holds a model pair twice for a metric
        and k.
    """
    lacking = {"dataset", "metric", "k", "n", "model_x", "model_y", "score"} - set(best.columns)
    if lacking:
        raise ValueError(f"The best table has no column {', '.join(sorted(lacking))}.")
    if best.is_empty():
        raise ValueError("The best table is empty; compare some models.")
    if best.select("dataset", "n").unique().height != 1:
        raise ValueError("The best table must hold one data set and one n; filter it first.")
    if best.select("metric", "k", "model_x", "model_y").is_duplicated().any():
        raise ValueError("The best table holds a model pair twice for one metric and k; keep one row.")
    several = pl.col("k").n_unique().over("metric") > 1
    label = pl.when(several).then(pl.format("{}@{}", "metric", "k")).otherwise("metric")
    named = best.filter(pl.col("score").is_finite()).with_columns(label=label)
    wide = named.pivot("label", index=["model_x", "model_y"], values="score", maintain_order=True)
    metrics = [name for name in wide.columns if name not in ("model_x", "model_y")]
    rows = []
    for x, y in combinations_with_replacement(metrics, 2):
        common = wide.filter(pl.col(x).is_not_null(), pl.col(y).is_not_null())
        rho, p = _rank_correlation(common[x].to_numpy(), common[y].to_numpy())
        rows += [(x, y, rho, p, len(common))] if x == y else [(x, y, rho, p, len(common)), (y, x, rho, p, len(common))]
    schema = {"metric_x": pl.String, "metric_y": pl.String, "spearman": pl.Float64, "p": pl.Float64, "pairs": pl.Int64}
    order = pl.Enum(metrics)
    return pl.DataFrame(rows, schema, orient="row").sort(pl.col("metric_x").cast(order), pl.col("metric_y").cast(order))


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float | None, float | None]:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, None
    result = stats.spearmanr(x, y)
    return float(result.statistic), float(result.pvalue)
