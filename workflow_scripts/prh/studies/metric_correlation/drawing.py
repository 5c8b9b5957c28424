"""Heat map metric x metric: do the metrics rank model pairs in the same way? (Figure 12 of the paper)"""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from prh.figures import style

CELL = 0.45  # inches


@style.applied()
def draw(table: pl.DataFrame) -> Figure:
    """Draw the table of ``prh.studies.metric_correlation.table`` as a matrix with numbers, in order of appearance.

    Parameters
    ----------
    table
        One row per pair of metrics: metric_x, metric_y, spearman (null: grey), pairs (number of model pairs).

    Raises
    ------
    ValueError
        If a column is missing, the table is empty, holds a pair of metrics twice, or has no correlation at all.
    """
    style.require_columns(table, ("metric_x", "metric_y", "spearman", "pairs"), "correlation")
    style.require_unique(table, ("metric_x", "metric_y"), "correlation")
    metrics = list(dict.fromkeys(table["metric_x"]))
    index = {metric: i for i, metric in enumerate(metrics)}
    values = np.full((len(metrics), len(metrics)), np.nan)
    for x, y, rho in table.select("metric_x", "metric_y", "spearman").iter_rows():
        values[index[x], index[y]] = np.nan if rho is None else rho
    if not np.isfinite(values).any():
        raise ValueError(
            "The correlation table has no correlation; that needs at least three model pairs with different scores."
        )

    room = style.longest_width(metrics, style.SMALL) + 0.3
    side = min(CELL * len(metrics), style.PAGE_WIDTH - room - 1)
    fig = style.figure(max(side + room + 1.2, 3.2), max(side + room + 0.7, 2.4))
    ax = fig.subplots()
    image = ax.imshow(values, vmin=min(0.0, np.nanmin(values)), vmax=1.0, cmap=style.value_map())
    size = style.label_size(len(metrics), side)
    ax.set_xticks(range(len(metrics)), metrics, rotation=90, fontsize=size)
    ax.set_yticks(range(len(metrics)), metrics, fontsize=size)
    ax.tick_params(length=0, pad=2)
    ax.spines[:].set_visible(False)
    style.cell_numbers(ax, image, side / len(metrics))
    bar = fig.colorbar(image, ax=ax, shrink=0.7, aspect=22, pad=0.02)
    bar.set_label("Spearman ρ")
    bar.outline.set_visible(False)
    low, high = table["pairs"].min(), table["pairs"].max()
    style.heading(fig, f"Rank agreement of metrics over {low if low == high else f'{low} to {high}'} model pairs")
    return fig
