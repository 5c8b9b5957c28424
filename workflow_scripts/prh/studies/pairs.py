"""Selects pairs of models from the table of best layer pairs: within a modality, across two, or as a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

SETTING = ("dataset", "metric", "k", "n")
VALUES = ("score", "calibrated")
OF_A_PAIR = ("score", "calibrated", "threshold", "low", "high", "chance")


def one_setting(best: pl.DataFrame, value: str) -> pl.DataFrame:
    """``best`` unchanged; ValueError unless it holds one setting, and each pair once with a finite ``value``."""
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


def within_modality(best: pl.DataFrame, modality: str, value: str = "score") -> pl.DataFrame:
    """Pairs of two different models of ``modality``, each once.

    Columns: model_x < model_y, family_x, family_y, y (alignment) and the setting. A pair that is present in both orders
    is averaged, because some metrics are not symmetric.
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


def across(best: pl.DataFrame, x_modality: str, y_modality: str) -> pl.DataFrame:
    """The finite scores of ``best`` between two modalities, in whichever order a pair is stored.

    Columns: x and y, the model of each modality; dataset, metric, k, n, family_x and family_y if ``best`` has them; and
    score, calibrated, threshold, low, high and chance if ``best`` has them. A pair that is present in both orders (by a
    metric that is not symmetric) is averaged. If both modalities are the same, every pair occurs in both orders.
    """
    sides = []
    for x, y in (("x", "y"), ("y", "x")):
        chosen = best.filter(pl.col(f"modality_{x}") == x_modality, pl.col(f"modality_{y}") == y_modality)
        renamed = [pl.col(f"{name}_{old}").alias(f"{name}_{new}") for name in ("model", "family")
                for old, new in ((x, "x"), (y, "y")) if f"{name}_{old}" in best.columns]  # fmt: skip
        sides.append(chosen.with_columns(renamed))
    both = pl.concat(sides).filter(pl.col("score").is_finite()).rename({"model_x": "x", "model_y": "y"})
    keys = [name for name in (*SETTING, "x", "y", "family_x", "family_y") if name in both.columns]
    values = [name for name in OF_A_PAIR if name in both.columns]
    return both.group_by(keys, maintain_order=True).agg(pl.col(values).mean())


def square(pairs: pl.DataFrame, models: Sequence[str], column: str) -> np.ndarray:
    """``column`` of all pairs of models as a matrix [models, models]: row = model_x, NaN on the diagonal or if absent.

    A pair that is stored in only one order fills both cells. Raises ValueError for a pair that occurs twice.
    """
    twice = pairs.filter(pl.struct("model_x", "model_y").is_duplicated())
    if twice.height:
        x, y = twice.select("model_x", "model_y").row(0)
        raise ValueError(f"The best table has the pair {x}, {y} more than once; keep one row per model_x, model_y.")
    index = {name: i for i, name in enumerate(models)}
    matrix = np.full((len(models), len(models)), np.nan)
    for x, y, value in pairs.select("model_x", "model_y", column).iter_rows():
        if x in index and y in index and x != y and value is not None:
            matrix[index[x], index[y]] = value
    return np.where(np.isnan(matrix), matrix.T, matrix)


def require_complete(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ValueError if any cell of a matrix [rows, columns] is NaN."""
    absent = np.argwhere(np.isnan(matrix))
    if len(absent):
        row, column = absent[0]
        raise ValueError(
            f"{len(absent)} pairs of models have no alignment, such as {rows[row]} with {columns[column]}; align them."
        )


def families(pairs: pl.DataFrame) -> pl.DataFrame:
    """The models of the pairs, one row each, with their family."""
    sides = [pairs.select(model=f"model_{side}", family=f"family_{side}") for side in "xy"]
    return pl.concat(sides).unique("model")


def with_setting(table: pl.DataFrame, pairs: pl.DataFrame, value: str) -> pl.DataFrame:
    """``table`` with constant columns for the setting of ``pairs`` and for which alignment (``value``) it shows."""
    dataset, metric, k, n = pairs.select(SETTING).row(0)
    return table.drop(SETTING, strict=False).with_columns(
        dataset=pl.lit(dataset),
        metric=pl.lit(metric),
        k=pl.lit(k, pl.Int32),
        n=pl.lit(n, pl.Int32),
        alignment=pl.lit(value),
    )
