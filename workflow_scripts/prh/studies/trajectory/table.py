"""The table of trajectories: alignment and scores of the checkpoints of training runs, by step."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from prh.core import statistics
from prh.core.ties import tied_models
from prh.io.names import AT
from prh.studies.base import StudyTables
from prh.studies.pairs import one_setting, with_setting
from prh.studies.scored_models import one_per_model_task
from prh.studies.statistics_table import permuted, statistics_table, trend_row

ALIGNMENT = "alignment"
COLUMNS = (
    *("run", "modality", "model", "step", "quantity", "other", "other_modality"),
    *("y", "low", "high", "layer", "depth"),
)


def table(
    best: pl.DataFrame,
    models: pl.DataFrame,
    scores: pl.DataFrame,
    *,
    runs: Mapping[str, Mapping[str, int]],
    value: str = "score",
    permutations: int = 10_000,
    seed: int = 0,
) -> StudyTables:
    """Does alignment rise along the training? Table: one row per checkpoint and model, and per checkpoint and task.

    Columns: run, modality, model, step; quantity ("alignment", or the metric of a score); other (the model it is
    aligned with, or the task) and other_modality (null for a task); y; low and high (interval, null where there is
    none); layer (of the checkpoint, in the best layer pair), depth (layer as a share of the last one, 0 to 1); and the
    setting. Models of the run's own modality are left out.
    Statistics: one panel per run, with a Spearman correlation of step and mean alignment for each modality (``group``).

    Parameters
    ----------
    best
        One row per model pair, of one setting (data set, metric, k, n), those of checkpoints included.
    models
        model, modality and layers.
    scores
        One row per model and task.
    runs
        The checkpoints of each run and their steps.
    value
        The column of ``best`` to show: "score" or "calibrated". Intervals are calibrated with the pair's threshold.
    permutations, seed
        Permutations of the steps for p-values; all of them if there are no more.

    Raises
    ------
    ValueError
        If a pair occurs twice or has no alignment, or a run has none with another modality.
    """
    best = one_setting(best, value)
    steps = pl.DataFrame(
        [(run, model, step) for run, of_run in runs.items() for model, step in of_run.items()],
        schema={"run": pl.String, "model": pl.String, "step": pl.Int64},
        orient="row",
    )
    aligned = _alignments(best, value).join(steps, on="model").join(models.select("model", "layers"), on="model")
    aligned = aligned.with_columns(
        quantity=pl.lit(ALIGNMENT),
        depth=pl.when(pl.col("layers") > 1).then(pl.col("layer") / (pl.col("layers") - 1)).otherwise(1.0),
    )
    if lacking := [run for run in runs if run not in set(aligned["run"])]:
        raise ValueError(f"The run {lacking[0]} has no alignment with a model of another modality; align it with one.")
    rows = pl.concat([aligned.select(COLUMNS), _scores(scores, steps, models)])
    order = pl.col("run").replace_strict({run: i for i, run in enumerate(runs)}, return_dtype=pl.Int64)
    rows = rows.sort(order, "quantity", "other_modality", "other", "step")
    return StudyTables(
        with_setting(rows, best, value),
        statistics_table(_trends(rows, list(runs), permutations, seed)),
        tied=[model for model in tied_models(best) if model in set(steps["model"])],
    )


def _alignments(best: pl.DataFrame, value: str) -> pl.DataFrame:
    """The pairs of each model with those of other modalities that are no checkpoints, from the model's side."""
    sides = []
    for x, y in (("x", "y"), ("y", "x")):
        sides.append(
            best.filter(pl.col(f"modality_{x}") != pl.col(f"modality_{y}")).select(
                model=f"model_{x}",
                modality=f"modality_{x}",
                other=f"model_{y}",
                other_modality=f"modality_{y}",
                y=pl.col(value),
                low=_calibrated("low") if value == "calibrated" else pl.col("low"),
                high=_calibrated("high") if value == "calibrated" else pl.col("high"),
                layer=pl.col(f"layer_{x}").cast(pl.Int64),
            )
        )
    both = pl.concat(sides).filter(~pl.col("other").str.contains(AT, literal=True))
    # A metric that is not symmetric has both orders of a pair: the mean, and the layer of the better one.
    means = [pl.col(name).mean() for name in ("y", "low", "high")]
    return both.group_by("model", "modality", "other", "other_modality", maintain_order=True).agg(
        *means, pl.col("layer").sort_by("y", descending=True).first()
    )


def _calibrated(column: str) -> pl.Expr:
    """An end of an interval of a score, calibrated as the score itself is (prh.core.calibration)."""
    share = (pl.col(column) - pl.col("threshold")) / (1 - pl.col("threshold"))
    return pl.when(pl.col("threshold") < 1).then(share.clip(lower_bound=0)).otherwise(0.0)


def _scores(scores: pl.DataFrame, steps: pl.DataFrame, models: pl.DataFrame) -> pl.DataFrame:
    """The scores of all checkpoints of a run on each task that all of them were measured on."""
    known = one_per_model_task(scores) if scores.height else scores
    rows = known.join(steps, on="model").join(models.select("model", "modality"), on="model")
    whole = pl.col("model").n_unique().over("run", "task", "metric") == pl.col("size")
    return (
        rows.join(steps.group_by("run").agg(size=pl.len()), on="run")
        .filter(whole)
        .select(
            *("run", "modality", "model", "step"),
            quantity="metric",
            other="task",
            other_modality=pl.lit(None, pl.String),
            y="value",
            low=pl.lit(None, pl.Float64),
            high=pl.lit(None, pl.Float64),
            layer=pl.lit(None, pl.Int64),
            depth=pl.lit(None, pl.Float64),
        )
    )


def _trends(rows: pl.DataFrame, runs: list[str], permutations: int, seed: int) -> list[dict]:
    """A rank correlation of step and mean alignment for each run and modality."""
    means = (
        rows.filter(pl.col("quantity") == ALIGNMENT)
        .group_by("run", "other_modality", "step")
        .agg(pl.col("y").mean())
        .sort("step")
    )
    trends = []
    for run in runs:
        for modality in means.filter(pl.col("run") == run)["other_modality"].unique().sort():
            of_run = means.filter(pl.col("run") == run, pl.col("other_modality") == modality)
            trend = statistics.qap_rows(
                of_run["y"].to_numpy()[:, None], of_run["step"].to_numpy(), permutations=permutations, seed=seed
            )
            method = f"mean over models of {modality} at {of_run.height} checkpoints; {permuted(trend)} of the steps"
            trends.append(trend_row(run, modality, trend, of_run.height, method))
    return trends
