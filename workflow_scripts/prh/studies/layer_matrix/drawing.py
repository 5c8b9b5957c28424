"""Heat map layer x layer: at which depths two models agree."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prh.figures import style

CELL = 0.3  # inches, the side of a cell if there is room


@style.applied()
def draw(
    table: pl.DataFrame, model_x: str | None = None, model_y: str | None = None, *, metric: str = "alignment"
) -> Figure:
    """Draw the alignment of every layer of ``model_x`` with every layer of ``model_y`` and mark the best pair.

    Parameters
    ----------
    table
        One row per layer pair, of a single k and n: model_x, layer_x, model_y, layer_y, k, n, score.
        It may contain other model pairs too, and this one in either order.
    model_x, model_y
        The models on the horizontal and the vertical axis; optional if ``table`` contains a single pair.
    metric
        Name of the score at the colour bar.

    Raises
    ------
    ValueError
        If a column is missing, the table is empty, or this pair of models has no finite score, several k or n, or a
        layer pair twice.
    """
    style.require_columns(table, ("model_x", "layer_x", "model_y", "layer_y", "k", "n", "score"), "alignment")
    if model_x is None or model_y is None:
        style.require_one(table, ("model_x", "model_y"), "alignment")
        model_x, model_y = table.select("model_x", "model_y").row(0)
    pair = _of_pair(table, model_x, model_y)
    style.require_one(pair, ("k", "n"), "alignment")
    style.require_unique(pair, ("layer_x", "layer_y"), "alignment")
    scores = np.full((pair["layer_y"].max() + 1, pair["layer_x"].max() + 1), np.nan)
    scores[pair["layer_y"].to_numpy(), pair["layer_x"].to_numpy()] = pair["score"].cast(pl.Float64).to_numpy()

    height, width = (min(max(CELL * layers, 1.8), 3.6) for layers in scores.shape)
    fig = style.figure(width + 1.4, height + 0.9)
    ax = fig.subplots()
    image = ax.imshow(scores, origin="lower", aspect="auto", cmap=style.value_map())
    ax.spines[:].set_visible(False)
    best_y, best_x = np.unravel_index(np.nanargmax(scores), scores.shape)
    _mark(ax, best_x, best_y, scores[best_y, best_x])
    ax.set_xlabel(f"layer of {model_x}", fontsize=_fit(f"layer of {model_x}", width + 0.6))
    ax.set_ylabel(f"layer of {model_y}", fontsize=_fit(f"layer of {model_y}", height + 0.4))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _add_depth(ax, *scores.shape)
    bar = fig.colorbar(image, ax=ax, shrink=0.7, aspect=22, pad=0.02)
    bar.set_label(style.describe(metric, pair["k"][0], pair["n"][0]))
    bar.outline.set_visible(False)
    if np.isnan(scores).any():
        style.note_below(fig, "Grey: no score, as a layer is the same for all samples.")
    return fig


def _fit(label: str, inches: float) -> float:
    """The font size at which ``label`` is at most ``inches`` wide."""
    return min(style.FONT_SIZE, style.FONT_SIZE * inches / style.text_width(label, style.FONT_SIZE))


def _of_pair(rows: pl.DataFrame, model_x: str, model_y: str) -> pl.DataFrame:
    """The rows of the pair, with x and y swapped if needed so that x is ``model_x``; scores that are not finite are
    null.
    """
    ordered = rows.filter(pl.col("model_x") == model_x, pl.col("model_y") == model_y)
    if ordered.is_empty():
        swapped = rows.filter(pl.col("model_x") == model_y, pl.col("model_y") == model_x)
        ordered = swapped.rename({"layer_x": "layer_y", "layer_y": "layer_x"})
    ordered = ordered.with_columns(pl.when(pl.col("score").is_finite()).then("score").alias("score"))
    if ordered["score"].count() == 0:
        raise ValueError(
            f"The alignment table has no score of {model_x} with {model_y}; choose two models that are aligned."
        )
    return ordered


def _mark(ax: Axes, x: int, y: int, score: float) -> None:
    """Circle the best layer pair, in white on black so that it is visible on every colour, and name it in the title."""
    ax.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor="black", markeredgewidth=2.6)
    ax.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor="white", markeredgewidth=1.2)
    ax.set_title(f"best: {score:.3f} at layers {x} and {y}")


def _add_depth(ax: Axes, rows: int, columns: int) -> None:
    """Add axes with relative depth, 0 (first layer) to 1 (last), for models with more than one layer."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    labels = ["0", "¼", "½", "¾", "1"]
    if columns > 1:
        depth = ax.secondary_xaxis("top", functions=(lambda x: x / (columns - 1), lambda x: x * (columns - 1)))
        depth.set_xticks(ticks, labels)
        depth.set_xlabel("relative depth", color=style.NEUTRAL)
        depth.spines[:].set_visible(False)
    if rows > 1:
        depth = ax.secondary_yaxis("right", functions=(lambda y: y / (rows - 1), lambda y: y * (rows - 1)))
        depth.set_yticks(ticks, labels)
        depth.spines[:].set_visible(False)
