"""The scores of all layer pairs of two models."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from prh.studies.base import StudyTables


def table(best: pl.DataFrame, rows: pl.DataFrame, *, pair: Sequence[str] = ()) -> StudyTables:
    """The scores of all layer pairs of the two models in ``pair``, or, if it names none, of the `strongest_pair`.

    best: one row per model pair; rows: one row per layer pair (schema ``prh.io.tables.ALIGNMENT``); both of one data
    set, metric and k. Raises ValueError for two models that are not compared.
    """
    return StudyTables(layer_scores(rows, *(pair or strongest_pair(best))))


def strongest_pair(best: pl.DataFrame) -> tuple[str, str]:
    """The two models of different modalities that align most (of any two, where there is one modality only).

    ``best`` holds the rows of one data set, metric and k. The kernel of a world, being no model, is left out.
    """
    pairs = best.filter(pl.col("modality_x") != "world", pl.col("modality_y") != "world")
    across = pairs.filter(pl.col("modality_x") != pl.col("modality_y"))
    pairs = pairs if across.is_empty() else across
    if pairs.is_empty():
        raise ValueError("no two models are compared; add a model to the experiment.")
    return pairs.sort("score", descending=True).select("model_x", "model_y").row(0)


def layer_scores(rows: pl.DataFrame, model_x: str, model_y: str) -> pl.DataFrame:
    """The scores of one model pair out of ``rows``, x with y where there are both."""
    for pair in ((model_x, model_y), (model_y, model_x)):
        scores = rows.filter(pl.col("model_x") == pair[0], pl.col("model_y") == pair[1])
        if not scores.is_empty():
            return scores
    raise ValueError(f"{model_x} and {model_y} are not compared; both must read the data set.")
