"""The table of Figure 3: bits per byte of language models and their alignment with vision models."""

from __future__ import annotations

import polars as pl

from prh.core import statistics
from prh.core.ties import tied_models
from prh.studies.base import StudyTables
from prh.studies.pairs import SETTING, across, one_setting, require_complete, with_setting
from prh.studies.scored_models import one_task, parameters_of, require_models
from prh.studies.statistics_table import permuted, slope_row, statistics_table, trend_row


def table(
    best: pl.DataFrame,
    models: pl.DataFrame,
    scores: pl.DataFrame,
    *,
    value: str = "score",
    score_metric: str = "bits_per_byte",
    task: str | None = None,
    permutations: int = 10_000,
    alpha: float = 0.05,
    seed: int = 0,
) -> StudyTables:
    """Do better language models align more with vision? Table: one row per (language model, vision model).

    Columns: language, language_family, vision, vision_family, x (1 - bits per byte), y (alignment),
    language_parameters, vision_parameters, source (of the score), and the setting.
    Statistics: one panel per vision family: Spearman over all its points with a p-value from permuting the language
    models, and for each vision model (``group``) the least-squares slope and Spearman.

    Parameters
    ----------
    best
        One row per model pair, of one setting (data set, metric, k, n).
    models
        model and parameters.
    scores
        One row per model and task.
    value
        The column of ``best`` to show: "score" or "calibrated".
    score_metric, task
        Metric of the scores that measure competence, and the name of the text if there are several.
    permutations, seed
        Permutations of the models for p-values.
    alpha
        Intervals have confidence 1 - alpha.

    Returns
    -------
    StudyTables
        A language model without a score is left out and listed as missing.

    Raises
    ------
    ValueError
        If fewer than three language models have a score, or a pair has no alignment.
    """
    pairs = language_with_vision(best, value)
    by_model = one_task(scores, score_metric, task)
    languages = pairs["language"].unique().to_list()
    kept = sorted(set(languages) & set(by_model["model"]))
    require_models(kept, 3, f"a {score_metric} score", "figure 3")
    rows = (
        pairs.join(by_model.select(language="model", x=1 - pl.col("value"), source="source"), on="language")
        .with_columns(
            language_parameters=parameters_of(models, languages, "language"),
            vision_parameters=parameters_of(models, pairs["vision"].unique(), "vision"),
        )
        .sort("vision_family", "vision_parameters", "vision", "x", "language")
    )
    quoted = [
        row
        for (family,), panel in rows.group_by("vision_family", maintain_order=True)
        for row in _panel_rows(family, panel, permutations, alpha, seed)
    ]
    return StudyTables(
        with_setting(rows, pairs, value),
        statistics_table(quoted),
        missing=sorted(set(languages) - set(kept)),
        tied=tied_models(best),
    )


def language_with_vision(best: pl.DataFrame, value: str) -> pl.DataFrame:
    """One row per language and vision model: language, language_family, vision, vision_family, y, and the setting."""
    pairs = across(one_setting(best, value), "language", "vision").sort("x", "y")
    names = {"x": "language", "family_x": "language_family", "y": "vision", "family_y": "vision_family"}
    return pairs.rename(names).select(*SETTING, *names.values(), y=pl.col(value))


def _panel_rows(family: str, panel: pl.DataFrame, permutations: int, alpha: float, seed: int) -> list[dict]:
    languages = panel["language"].unique().sort().to_list()
    visions = panel["vision"].unique(maintain_order=True).to_list()
    grid = panel.pivot("vision", index="language", values="y").sort("language")
    matrix = grid.select(visions).to_numpy()
    require_complete(matrix, languages, visions)
    x = panel.unique("language").sort("language")["x"].to_numpy()
    trend = statistics.qap_rows(matrix, x, permutations=permutations, seed=seed)
    method = f"all points; {permuted(trend)} of language models (QAP)"
    rows = [trend_row(family, None, trend, len(languages), method)]
    for vision, y in zip(visions, matrix.T, strict=True):
        line_trend = statistics.qap_rows(y[:, None], x, permutations=permutations, seed=seed)
        rows.append(slope_row(family, vision, statistics.linear_fit(x, y), alpha))
        rows.append(trend_row(family, vision, line_trend, len(languages), f"{permuted(line_trend)} of language models"))
    return rows
