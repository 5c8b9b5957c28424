"""Heat map metric x metric: do the metrics rank the model pairs alike? (Figure 12 of the paper)"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from prh.figures import style

CELL = 0.45  # inches


def spearman(best: pl.DataFrame) -> pl.DataFrame:
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
    style.require_columns(best, ("dataset", "metric", "k", "n", "model_x", "model_y", "score"), "best")
    style.require_one(best, ("dataset", "n"), "best")
    style.require_unique(best, ("metric", "k", "model_x", "model_y"), "best")
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
    result = spearmanr(x, y)
    return float(result.statistic), float(result.pvalue)


@style.applied()
def draw(table: pl.DataFrame) -> Figure:
    """Draw the table of ``spearman`` as a matrix with its numbers, metrics in order of appearance.

    Parameters
    ----------
    table
        One row per two metrics: metric_x, metric_y, spearman (null: grey), pairs (the model pairs behind it).

    Raises
    ------
    ValueError
        A column is missing, the table is empty, gives two metrics twice, or has no correlation at all.
    """
    style.require_columns(table, ("metric_x", "metric_y", "spearman", "pairs"), "correlation")
    style.require_unique(table, ("metric_x", "metric_y"), "correlation")
    metrics = list(dict.fromkeys(table["metric_x"]))
    place = {metric: i for i, metric in enumerate(metrics)}
    values = np.full((len(metrics), len(metrics)), np.nan)
    for x, y, rho in table.select("metric_x", "metric_y", "spearman").iter_rows():
        values[place[x], place[y]] = np.nan if rho is None else rho
    if not np.isfinite(values).any():
        raise ValueError("The correlation table has no correlation: it takes three model pairs with different scores.")

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
