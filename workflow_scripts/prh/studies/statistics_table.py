"""The table of statistics that a study quotes, with one schema for all studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from prh.core import statistics

STATISTICS = {
    "panel": pl.String,
    "group": pl.String,  # the bin, line or task within the panel; null for the whole panel
    "statistic": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "n": pl.Int64,  # independent units: models, never pairs
    "method": pl.String,
}


def statistics_table(rows: Sequence[Mapping]) -> pl.DataFrame:
    """``rows`` as a table of schema STATISTICS; missing values are null."""
    table = pl.DataFrame([{name: row.get(name) for name in STATISTICS} for row in rows], schema=STATISTICS)
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def trend_row(panel: str, group: str | None, trend: statistics.Trend, n: int, method: str) -> dict:
    """Row for a rank correlation with its p-value."""
    return {
        "panel": panel,
        "group": group,
        "statistic": "Spearman",
        "value": trend.correlation,
        "p": trend.p,
        "n": n,
        "method": method,
    }


def slope_row(panel: str, group: str | None, line: statistics.LinearFit, alpha: float) -> dict:
    """Row for the slope of a line with its 1 - alpha interval."""
    low, high = line.slope_interval(1 - alpha)
    return {
        "panel": panel,
        "group": group,
        "statistic": "slope",
        "value": line.slope,
        "stderr": line.slope_stderr,
        "low": low,
        "high": high,
        "n": line.n,
        "method": f"least squares; {percent(alpha)} t interval",
    }


def permuted(trend: statistics.Trend) -> str:
    """Description of the permutations of a trend: ``all 5,040 permutations`` or ``random 10,000 permutations``."""
    return f"{'all' if trend.exact else 'random'} {trend.permutations + trend.exact:,} permutations"


def percent(alpha: float) -> str:
    """The confidence 1 - alpha of an interval as text: ``95 %``."""
    return f"{100 * (1 - alpha):g} %"
