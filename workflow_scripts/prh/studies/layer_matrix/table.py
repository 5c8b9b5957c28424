"""The scores of all layer pairs of two models."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from prh.modalities import given
from prh.studies.base import StudyTables


def table(best: pl.DataFrame, rows: pl.DataFrame, *, pair: Sequence[str] = ()) -> StudyTables:
    """The scores of all layer pairs of the two models in ``pair``; if it is empty, of the `strongest_pair`.

    Parameters
    ----------
    best
        One row per model pair, of one data set, metric and k.
    rows
        One row per layer pair (schema ``prh.io.tables.ALIGNMENT``), of the same data set, metric and k.
    pair
        Names of two models, or empty.

    Returns
    -------
    StudyTables
        Its table has the columns of ``rows``.

    Raises
    ------
    ValueError
        If the two models are not aligned with each other.
    """
    return StudyTables(layer_scores(rows, *(pair or strongest_pair(best))))


def strongest_pair(best: pl.DataFrame) -> tuple[str, str]:
    """The two models of different modalities that align most; of any two models if there is only one modality.

    ``best`` holds the rows of one data set, metric and k. Features and kernels that are given rather than computed by a
    model, such as the kernel of a world, are ignored. Raises ValueError if no pair has a score.
    """
    models = [~pl.col(f"modality_{side}").is_in(given()) for side in "xy"]
    pairs = best.filter(*models, pl.col("score").is_finite())
    across = pairs.filter(pl.col("modality_x") != pl.col("modality_y"))
    pairs = pairs if across.is_empty() else across
    if pairs.is_empty():
        raise ValueError("no two models are compared; add a model to the experiment.")
    return pairs.sort("score", descending=True).select("model_x", "model_y").row(0)


def layer_scores(rows: pl.DataFrame, model_x: str, model_y: str) -> pl.DataFrame:
    """The rows of one model pair, in the order (x, y) if ``rows`` has both; ValueError if it has neither."""
    for pair in ((model_x, model_y), (model_y, model_x)):
        scores = rows.filter(pl.col("model_x") == pair[0], pl.col("model_y") == pair[1])
        if not scores.is_empty():
            return scores
    raise ValueError(f"{model_x} and {model_y} are not compared; both must read the data set.")
