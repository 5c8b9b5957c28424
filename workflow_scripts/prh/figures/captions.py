"""Text in figures 2, 3 and 4: headings, quoted trends and sources of scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import polars as pl

from prh.figures import style

SETTING = ("dataset", "metric", "k", "n", "alignment")
STATISTICS = ("panel", "group", "statistic", "value", "stderr", "low", "high", "p", "n")
_ALIGNMENT = {"score": "Alignment", "calibrated": "Calibrated alignment"}
AXES = {"score": "alignment", "calibrated": "calibrated alignment"}
"""How the values of a setting are called beside an axis."""


def require(table: pl.DataFrame, columns: Sequence[str], statistics: pl.DataFrame, figure: str) -> None:
    """Raise ValueError unless ``table`` has ``columns`` and one setting, and ``statistics`` its own columns."""
    style.require_columns(table, (*columns, *SETTING), figure)
    style.require_one(table, SETTING, figure)
    style.require_columns(statistics, STATISTICS, f"{figure} statistics")


def heading(table: pl.DataFrame, of: str) -> str:
    """Heading such as ``Alignment of vision models, wit_1024 (mutual_knn, k = 10, n = 1,024)``."""
    dataset, metric, k, n, alignment = table.select(SETTING).row(0)
    return f"{_ALIGNMENT[alignment]} {of}, {dataset} ({style.describe(metric, k, n)})"


def one(statistics: pl.DataFrame, panel: str, statistic: str) -> dict:
    """The row of ``statistic`` for a whole ``panel``; ValueError unless there is exactly one."""
    rows = statistics.filter(
        (pl.col("panel") == panel) & pl.col("group").is_null() & (pl.col("statistic") == statistic)
    )
    if rows.height != 1:
        raise ValueError(
            f"The statistics hold {rows.height} rows of {statistic} for panel {panel}; a figure needs one."
        )
    return rows.row(0, named=True)


def trend(row: Mapping) -> str:
    """A trend as text, such as ``ρ = 0.86, p = 0.0001``, or ``ρ is not defined``."""
    if row["value"] is None or math.isnan(row["value"]):
        return "ρ is not defined"
    return f"ρ = {row['value']:.2f}, p = {_p_value(row['p'])}"


def _p_value(p: float) -> str:
    return f"{p:.2f}" if p >= 0.095 else f"{p:.1g}"


def sources(table: pl.DataFrame) -> str:
    """A sentence that names the sources of scores; empty if all were measured here."""
    names = sorted(table["source"].unique())
    return "" if names == ["measured"] else f"Scores: {'; '.join(names)}."
