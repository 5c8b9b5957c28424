"""The tables of figures 2, 3 and 4: alignment of models joined to what the models can do.

Each function takes ``best`` (one row per model pair) and ``scores`` (one row per model and task) and returns the rows
that its figure draws, the statistics that it quotes and the models that it leaves out for want of a score. ``best``
must hold one setting (data set, metric, k, n); ``value`` names the column drawn, ``score`` or ``calibrated``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import polars as pl
import pyarrow as pa
from scipy import stats as scipy_stats

from prh.competence.scores import MEASURED
from prh.core import statistics

STATISTICS = pa.schema(
    [
        ("panel", pa.string()),
        ("group", pa.string()),  # the bin, line or task within the panel; null for the whole panel
        ("statistic", pa.string()),
        ("value", pa.float64()),
        ("stderr", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p", pa.float64()),
        ("n", pa.int64()),  # independent units: models, never pairs
        ("method", pa.string()),
    ]
)

SETTING = ("dataset", "metric", "k", "n")
VALUES = ("score", "calibrated")
SOLVED_SHARE = 0.8


@dataclass(frozen=True)
class Joined:
    """What a figure needs: its rows, its statistics (schema STATISTICS) and the models left out, by name."""

    table: pl.DataFrame
    statistics: pl.DataFrame
    missing: list[str]


def figure2(
    best: pl.DataFrame,
    scores: pl.DataFrame,
    *,
    value: str = "score",
    score_metric: str = "top1",
    bins: int = 5,
    permutations: int = 10_000,
    seed: int = 0,
) -> Joined:
    """Do vision models that solve more tasks agree more? Table: one row per vision model.

    Columns: model, family, solved, tasks, bin (0 ... bins - 1, of equal width in the share of tasks solved), bins,
    average (mean score over tasks), map_x, map_y (UMAP of -log alignment; null below four models), and the setting.
    Statistics: panel ``bins``: mean alignment within each bin; panel ``all``: trend over all pairs of alignment with
    the smaller count of solved tasks of the pair (QAP).
    A model that lacks a score on any task is left out. Raises ValueError for fewer than three models with scores.
    """
    pairs = within_modality(_setting(best, value), "vision", value)
    task_scores = _one_per_model_task(scores.filter(pl.col("metric") == score_metric))
    models = sorted({*pairs["model_x"], *pairs["model_y"]})
    tasks = task_scores.filter(pl.col("model").is_in(models))["task"].unique().to_list()
    complete = (
        task_scores.filter(pl.col("task").is_in(tasks))
        .group_by("model")
        .agg(pl.len().alias("scored"), pl.col("value").mean().alias("average"))
        .filter(pl.col("scored") == len(tasks))
    )
    kept = [m for m in models if m in set(complete["model"])]
    _require_models(kept, 3, f"{score_metric} scores on all {len(tasks)} tasks", "figure 2")
    alignment = square(pairs, kept)
    place = model_map(alignment, seed=seed)
    counts = solved(task_scores.filter(pl.col("model").is_in(kept)))
    table = (
        pl.DataFrame({"model": kept, "map_x": place[:, 0], "map_y": place[:, 1]})
        .with_columns(pl.col("map_x", "map_y").fill_nan(None))
        .join(_families(pairs), on="model")
        .join(counts, on="model")
        .join(complete.select("model", "average"), on="model")
        .with_columns(
            bin=(pl.col("solved") * bins // pl.col("tasks")).clip(0, bins - 1).cast(pl.Int32), bins=pl.lit(bins)
        )
        .sort("model")
    )
    rows = [*_bin_rows(table, alignment, bins), _solved_trend(table, alignment, permutations, seed)]
    return Joined(_with_setting(table, pairs, value), _statistics(rows), [m for m in models if m not in kept])


def figure3(
    best: pl.DataFrame,
    scores: pl.DataFrame,
    parameters: Mapping[str, int],
    *,
    value: str = "score",
    score_metric: str = "bits_per_byte",
    task: str | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> Joined:
    """Do better language models align more with vision? Table: one row per (language model, vision model).

    Columns: language, language_family, vision, vision_family, x (1 - bits per byte), y (alignment),
    language_parameters, vision_parameters, source (of the score), and the setting.
    Statistics: one panel per vision family: Spearman over all its points with a p-value from permuting the language
    models, and for each vision model (``group``) the least-squares slope and Spearman.
    ``task`` names the text when scores hold several.
    Raises ValueError for fewer than three language models with a score.
    """
    pairs = across_modalities(_setting(best, value), value)
    by_model = _one_task(scores, score_metric, task)
    models = pairs["language"].unique().to_list()
    kept = sorted(set(models) & set(by_model["model"]))
    _require_models(kept, 3, f"a {score_metric} score", "figure 3")
    table = (
        pairs.join(by_model.select(language="model", x=1 - pl.col("value"), source="source"), on="language")
        .with_columns(
            language_parameters=_sizes("language", pairs["language"].unique(), parameters),
            vision_parameters=_sizes("vision", pairs["vision"].unique(), parameters),
        )
        .sort("vision_family", "vision_parameters", "vision", "x", "language")
    )
    rows = [
        row
        for (family,), panel in table.group_by("vision_family", maintain_order=True)
        for row in _panel_rows(family, panel, permutations, seed)
    ]
    return Joined(_with_setting(table, pairs, value), _statistics(rows), sorted(set(models) - set(kept)))


def figure4(
    best: pl.DataFrame,
    scores: pl.DataFrame,
    parameters: Mapping[str, int],
    *,
    tasks: Mapping[str, str],
    reference: str,
    value: str = "score",
    score_metric: str = "bits_per_byte",
    modelling_task: str | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> Joined:
    """Does alignment to vision predict downstream scores? Table: one row per (language model, task).

    tasks: task name -> metric, such as {"hellaswag": "acc_norm", "gsm8k": "exact_match,strict-match"}; a panel each.
    reference: the vision family (or one vision model) that language models are compared to; a model's alignment is the
    mean over the family's models.
    Columns: task, task_metric, model, family, x (alignment), y (score), stderr, source, shots, parameters,
    rank (1 = fewest bits per byte), monotone (the monotone fit at x), reference, reference_models, and the setting.
    A model without its bits per byte or without any of the tasks' scores is left out of all panels, so that they show
    the same models.
    """
    pairs = across_modalities(_setting(best, value), value)
    chosen = pairs.filter((pl.col("vision_family") == reference) | (pl.col("vision") == reference))
    if chosen.is_empty():
        known = ", ".join(sorted(pairs["vision_family"].unique()))
        raise ValueError(f"No vision model is, or is of the family, {reference}; the families are {known}.")
    if not tasks:
        raise ValueError("Figure 4 needs at least one task.")
    aligned = chosen.group_by("language", "language_family").agg(
        x=pl.col("y").mean(), reference_models=pl.len().cast(pl.Int64)
    )
    modelling = _one_task(scores, score_metric, modelling_task)
    by_task = {name: _one_task(scores, task_metric, name) for name, task_metric in tasks.items()}
    models = sorted(pairs["language"].unique())
    kept = sorted(set(models).intersection(modelling["model"], *(frame["model"] for frame in by_task.values())))
    _require_models(kept, 3, f"scores on {score_metric}, {', '.join(tasks)}", "figure 4")

    modelling = modelling.filter(pl.col("model").is_in(kept))
    ranked = pl.DataFrame({"model": modelling["model"], "rank": statistics.ranks(-modelling["value"].to_numpy())})
    common = (
        aligned.rename({"language": "model", "language_family": "family"})
        .filter(pl.col("model").is_in(kept))
        .join(ranked, on="model")
        .with_columns(parameters=_sizes("model", kept, parameters), reference=pl.lit(reference))
    )
    panels, rows = [], []
    for name, frame in by_task.items():
        panel = common.join(
            frame.select("model", "stderr", "source", "shots", task="task", task_metric="metric", y="value"), on="model"
        ).sort("x", "model")
        fitted, monotone_r2 = statistics.monotone_fit(panel["x"], panel["y"])
        panels.append(panel.with_columns(monotone=pl.Series(fitted)))
        rows += _downstream_rows(name, panel, monotone_r2, permutations, seed)
    table = pl.concat(panels)
    return Joined(_with_setting(table, pairs, value), _statistics(rows), sorted(set(models) - set(kept)))


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


def within_modality(best: pl.DataFrame, modality: str, value: str = "score") -> pl.DataFrame:
    """Pairs of two models of ``modality``, each once: model_x < model_y, family_x, family_y, y (alignment), setting.

    A pair given in both orders is averaged (some metrics are not symmetric); a model with itself is left out.
    """
    swap = pl.col("model_x") > pl.col("model_y")
    ordered = best.filter(
        (pl.col("modality_x") == modality)
        & (pl.col("modality_y") == modality)
        & (pl.col("model_x") != pl.col("model_y"))
    ).with_columns(
        pl.when(swap).then(pl.col(f"{name}_{other}")).otherwise(pl.col(f"{name}_{side}")).alias(f"{name}_{side}")
        for name in ("model", "family")
        for side, other in (("x", "y"), ("y", "x"))
    )
    keys = ("model_x", "model_y", "family_x", "family_y", *SETTING)
    return ordered.group_by(*keys).agg(y=pl.col(value).mean()).sort("model_x", "model_y")


def across_modalities(best: pl.DataFrame, value: str = "score") -> pl.DataFrame:
    """Pairs of a language and a vision model, whichever came first: language, language_family, vision, vision_family,
    y (alignment), setting. A pair given in both orders is averaged.
    """
    sides = []
    for language, vision in (("x", "y"), ("y", "x")):
        sides.append(
            best.filter(
                (pl.col(f"modality_{language}") == "language") & (pl.col(f"modality_{vision}") == "vision")
            ).select(
                *SETTING,
                language=f"model_{language}",
                language_family=f"family_{language}",
                vision=f"model_{vision}",
                vision_family=f"family_{vision}",
                y=value,
            )
        )
    keys = (*SETTING, "language", "language_family", "vision", "vision_family")
    return pl.concat(sides).group_by(*keys).agg(pl.col("y").mean()).sort("language", "vision")


def square(pairs: pl.DataFrame, models: Sequence[str]) -> np.ndarray:
    """Symmetric matrix of ``y`` over ``models`` with a NaN diagonal; raises ValueError for a pair that is missing."""
    at = {model: i for i, model in enumerate(models)}
    matrix = np.full((len(models), len(models)), np.nan)
    for x, y, alignment in pairs.select("model_x", "model_y", "y").iter_rows():
        if x in at and y in at:
            matrix[at[x], at[y]] = matrix[at[y], at[x]] = alignment
    _require_complete(np.where(np.tri(len(models), dtype=bool), 0, matrix), models, models)  # each pair once
    return matrix


def model_map(alignment: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Places of models in the plane by UMAP on the distance -log(alignment): [models, 2], NaN for fewer than four.

    alignment: symmetric [models, models], the diagonal not used. An alignment of zero or less, whose distance would be
    infinite, counts as half of the smallest positive one. Raises ValueError if none is positive.
    """
    models = len(alignment)
    if models < 4:
        return np.full((models, 2), np.nan)
    off_diagonal = ~np.eye(models, dtype=bool)
    positive = alignment[off_diagonal & (alignment > 0)]
    if not positive.size:
        raise ValueError("No two models have a positive alignment, so there is no map of them to draw.")
    from umap import UMAP  # slow to import, and only figure 2 needs it

    distance = np.zeros_like(alignment)
    distance[off_diagonal] = -np.log(np.clip(alignment[off_diagonal], positive.min() / 2, 1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="using precomputed metric; inverse_transform will be unavailable")
        reducer = UMAP(
            metric="precomputed",
            n_neighbors=min(15, models - 1),
            init="spectral" if models > 10 else "random",  # the spectral start needs more points than it has axes
            random_state=seed,
            n_jobs=1,
        )
        return reducer.fit_transform(distance).astype(np.float64)


def _setting(best: pl.DataFrame, value: str) -> pl.DataFrame:
    if value not in VALUES:
        raise ValueError(f"The alignment drawn must be one of {', '.join(VALUES)}, got {value}.")
    sides = [f"{name}_{side}" for name in ("model", "modality", "family") for side in "xy"]
    lacking = {*SETTING, *sides, value} - set(best.columns)
    if lacking:
        raise ValueError(f"The table of best alignments lacks the column {', '.join(sorted(lacking))}.")
    settings = best.select(SETTING).unique()
    if settings.height != 1:
        raise ValueError(
            f"A figure shows one data set, metric, k and n, but the table holds {settings.height}; filter it first."
        )
    if best.filter(~pl.col(value).is_finite().fill_null(False)).height:
        raise ValueError(f"The column {value} of the best alignments holds NaN or nothing; align those models again.")
    twice = best.filter(pl.struct("model_x", "model_y").is_duplicated())
    if twice.height:
        x, y = twice.select("model_x", "model_y").row(0)
        raise ValueError(f"The pair {x}, {y} has more than one row; each pair counts once.")
    return best


def _require_scores(scores: pl.DataFrame, columns: set[str]) -> None:
    """Raise ValueError for a missing column, and for a value that is NaN or missing."""
    if lacking := columns - set(scores.columns):
        raise ValueError(f"The scores lack the column {', '.join(sorted(lacking))}.")
    if scores.filter(~pl.col("value").is_finite().fill_null(False)).height:
        raise ValueError("The scores hold a value that is NaN or missing; leave that row out or measure it again.")


def _one_per_model_task(scores: pl.DataFrame) -> pl.DataFrame:
    """One row per (model, task): what was measured stands before what was published."""
    _require_scores(scores, {"model", "task", "metric", "value", "source"})
    twice = scores.filter(pl.struct("model", "task", "metric", "source").is_duplicated())
    if twice.height:
        model, task = twice.select("model", "task").row(0)
        raise ValueError(f"The scores hold model {model} on task {task} twice from one source; keep one row.")
    first = scores.sort(pl.col("source") != MEASURED, "source", maintain_order=True)
    return first.unique(["model", "task", "metric"], keep="first", maintain_order=True)


def _one_task(scores: pl.DataFrame, metric: str, task: str | None) -> pl.DataFrame:
    chosen = _one_per_model_task(scores.filter(pl.col("metric") == metric))
    if task is not None:
        chosen = chosen.filter(pl.col("task") == task)
    tasks = chosen["task"].unique().sort().to_list()
    if len(tasks) > 1:
        raise ValueError(f"The scores hold {metric} on several tasks ({', '.join(tasks)}); name one.")
    optional = [
        pl.lit(None, t).alias(c) for c, t in (("stderr", pl.Float64), ("shots", pl.Int64)) if c not in chosen.columns
    ]
    return chosen.with_columns(*optional)


def _families(pairs: pl.DataFrame) -> pl.DataFrame:
    sides = [pairs.select(model=f"model_{side}", family=f"family_{side}") for side in "xy"]
    return pl.concat(sides).unique("model")


def _sizes(column: str, models: Sequence[str], parameters: Mapping[str, int]) -> pl.Expr:
    unknown = sorted(set(models) - set(parameters))
    if unknown:
        raise ValueError(f"The number of parameters of {', '.join(unknown)} is not known; extract its features again.")
    return pl.col(column).replace_strict({m: int(parameters[m]) for m in models}, return_dtype=pl.Int64)


def _require_models(kept: Sequence[str], least: int, what: str, figure: str) -> None:
    if len(kept) < least:
        raise ValueError(f"{figure.capitalize()} needs at least {least} models with {what}; there are {len(kept)}.")


def _require_complete(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    absent = np.argwhere(np.isnan(matrix))
    if len(absent):
        row, column = absent[0]
        raise ValueError(
            f"{len(absent)} cells of the grid of models have no alignment, such as {rows[row]} with {columns[column]}; "
            "align them."
        )


def _bin_rows(table: pl.DataFrame, alignment: np.ndarray, bins: int) -> list[dict]:
    """Mean alignment within each bin that has two models or more."""
    rows = []
    names, which = table["model"].to_list(), table["bin"].to_numpy()
    for index in range(bins):
        members = np.flatnonzero(which == index)
        if len(members) < 2:
            continue
        left, right = (members[side] for side in np.triu_indices(len(members), 1))
        mean = statistics.pair_mean(alignment[left, right], [names[i] for i in left], [names[i] for i in right])
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
                "method": _mean_method(mean),
            }
        )
    return rows


def _mean_method(mean: statistics.PairMean) -> str:
    pairs = "1 pair" if mean.pairs == 1 else f"{mean.pairs} pairs; stderr as if independent"
    interval = f"no interval: {mean.no_interval}" if mean.no_interval else "95 % jackknife interval over models"
    return f"mean of {pairs}; {interval}"


def _solved_trend(table: pl.DataFrame, alignment: np.ndarray, permutations: int, seed: int) -> dict:
    counts = table["solved"].to_numpy()
    trend = statistics.qap_square(alignment, np.minimum.outer(counts, counts), permutations=permutations, seed=seed)
    method = f"all pairs, with the smaller count of solved tasks; {_how(trend)} of models (QAP)"
    return _trend_row("all", None, trend, len(counts), method)


def _panel_rows(family: str, panel: pl.DataFrame, permutations: int, seed: int) -> list[dict]:
    languages = panel["language"].unique().sort().to_list()
    visions = panel["vision"].unique(maintain_order=True).to_list()
    grid = panel.pivot("vision", index="language", values="y").sort("language")
    matrix = grid.select(visions).to_numpy()
    _require_complete(matrix, languages, visions)
    x = panel.unique("language").sort("language")["x"].to_numpy()
    trend = statistics.qap_rows(matrix, x, permutations=permutations, seed=seed)
    method = f"all points; {_how(trend)} of language models (QAP)"
    rows = [_trend_row(family, None, trend, len(languages), method)]
    for vision, y in zip(visions, matrix.T, strict=True):
        own = statistics.qap_rows(y[:, None], x, permutations=permutations, seed=seed)
        rows.append(_slope_row(family, vision, statistics.linear_fit(x, y)))
        rows.append(_trend_row(family, vision, own, len(languages), f"{_how(own)} of language models"))
    return rows


def _downstream_rows(task: str, panel: pl.DataFrame, monotone_r2: float, permutations: int, seed: int) -> list[dict]:
    x, y = panel["x"].to_numpy(), panel["y"].to_numpy()
    trend = statistics.qap_rows(y[:, None], x, permutations=permutations, seed=seed)
    line = statistics.linear_fit(x, y)
    n = len(x)
    return [
        _trend_row(task, None, trend, n, f"{_how(trend)} of language models"),
        _slope_row(task, None, line),
        {"panel": task, "statistic": "R2 linear", "value": line.r2, "n": n, "method": "least squares"},
        {"panel": task, "statistic": "R2 monotone", "value": monotone_r2, "n": n, "method": "isotonic regression"},
    ]


def _trend_row(panel: str, group: str | None, trend: statistics.Trend, n: int, method: str) -> dict:
    return {
        "panel": panel,
        "group": group,
        "statistic": "Spearman",
        "value": trend.correlation,
        "p": trend.p,
        "n": n,
        "method": method,
    }


def _slope_row(panel: str, group: str | None, line: statistics.LinearFit) -> dict:
    low, high = line.slope_interval()
    return {
        "panel": panel,
        "group": group,
        "statistic": "slope",
        "value": line.slope,
        "stderr": line.slope_stderr,
        "low": low,
        "high": high,
        "n": line.n,
        "method": "least squares; 95 % t interval",
    }


def _how(trend: statistics.Trend) -> str:
    return f"{'all' if trend.exact else 'random'} {trend.permutations + trend.exact:,} permutations"


def _statistics(rows: Sequence[Mapping]) -> pl.DataFrame:
    empty = pl.from_arrow(STATISTICS.empty_table())
    frame = pl.DataFrame([{name: row.get(name) for name in empty.columns} for row in rows], schema=empty.schema)
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _with_setting(table: pl.DataFrame, pairs: pl.DataFrame, value: str) -> pl.DataFrame:
    """The table with the constant columns that say which alignment it shows."""
    dataset, metric, k, n = pairs.select(SETTING).row(0)
    return table.drop(SETTING, strict=False).with_columns(
        dataset=pl.lit(dataset),
        metric=pl.lit(metric),
        k=pl.lit(k, pl.Int32),
        n=pl.lit(n, pl.Int32),
        alignment=pl.lit(value),
    )


def metric_correlations(best: pl.DataFrame) -> pl.DataFrame:
    """Spearman rank correlation of every two metrics over the model pairs that both have scored.

    Parameters
    ----------
    best
        One row per model pair and metric, of a single data set and n: dataset, metric, k, n, model_x, model_y, score.
        A metric with several k counts as several, named metric@k.

    Returns
    -------
    One row per two metrics (metric_x, metric_y, spearman, p, pairs), each metric with itself included, in order of
    appearance. spearman is null below three common pairs, and where a metric is constant over them.

    Raises
    ------
    ValueError
        A column is missing, the table is empty, mixes data sets or n, or holds a model pair twice for a metric and k.
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
    result = scipy_stats.spearmanr(x, y)
    return float(result.statistic), float(result.pvalue)
