"""Alignment against the number of samples, raw and calibrated."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prh.core.ties import tied_models
from prh.figures import style

MODALITIES = ("modality_x", "modality_y")
SINGLE_LINES = 12  # if there are more pairs of a kind, a band replaces their lines
INTERVALS = 4  # intervals are drawn for up to this many pairs of a kind
PANEL_HEIGHT = 2.7  # inches
BAND = (0.1, 0.9)
KIND = pl.concat_str(pl.min_horizontal(*MODALITIES), pl.max_horizontal(*MODALITIES), separator=" × ")


@style.applied()
def draw(sweep: pl.DataFrame) -> Figure:
    """Draw the alignment of model pairs against n, raw and calibrated, coloured by the kind of pair (its modalities).

    Wide lines are means over the pairs of a kind; thin lines are single pairs, or a band from the 10th to the 90th
    percentile if there are many. Dotted: chance level, if known; dashed: mean null threshold.

    Parameters
    ----------
    sweep
        One row per model pair and n, of a single dataset and metric and one k for each n: dataset, metric, k, n,
        model_x, modality_x, model_y, modality_y, score and, optionally, calibrated, chance, threshold, low, high (null
        where not computed). Pairs that lack an n are left out. Without calibrated scores there is one panel.

    Raises
    ------
    ValueError
        If a column is missing, or the table is empty, mixes data sets or metrics, holds a pair twice at an n (select
        one k), or has no pair with a score at every n.
    """
    columns = ("dataset", "metric", "k", "n", "model_x", "modality_x", "model_y", "modality_y", "score")
    style.require_columns(sweep, columns, "sweep")
    style.require_one(sweep, ("dataset", "metric"), "sweep")
    style.require_unique(sweep, ("model_x", "model_y", "n"), "sweep")
    scored = sweep.filter(pl.col("score").is_finite()).with_columns(kind=KIND)
    pairs = style.complete_pairs(scored, ("model_x", "model_y"), "n").sort("n")
    if pairs.is_empty():
        raise ValueError("The sweep table has no model pair with a score at every n; draw fewer n.")

    calibrated = "calibrated" in pairs.columns and pairs["calibrated"].is_finite().any()
    panels = {"score": "alignment", "calibrated": "calibrated alignment"} if calibrated else {"score": "alignment"}
    width = style.PAGE_WIDTH if calibrated else 0.6 * style.PAGE_WIDTH
    fig = style.figure(width, PANEL_HEIGHT + 0.5)
    axes = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (column, label) in zip(axes, panels.items(), strict=True):
        _draw_kinds(ax, pairs, column)
        style.log_ticks(ax, pairs["n"], width / len(panels) - 0.8)
        ax.set_xlabel("samples n")
        ax.set_ylabel(label)
        ax.grid(axis="y")
    _draw_null(axes[0], pairs)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    ks = pairs["k"].unique().sort().to_list()
    k = ks[0] if len(ks) == 1 else f"k = {ks[0]:,} to {ks[-1]:,}"
    style.heading(fig, f"Alignment as n grows, {sweep['dataset'][0]}", style.describe(sweep["metric"][0], k, None))
    dropped = sweep.n_unique(("model_x", "model_y")) - pairs.n_unique(("model_x", "model_y"))
    notes = [f"Left out: {dropped} model pairs without a score at every n." if dropped else ""]
    notes.append(style.tied(tied_models(pairs)))
    style.note_below(fig, " ".join(filter(None, notes)))
    return fig


def mean_over_pairs(pairs: pl.DataFrame, column: str) -> pl.DataFrame:
    """Mean of ``column`` and ends of the band (low, high) for each kind of pair and n."""
    values = pl.col(column)
    return (
        pairs.group_by("kind", "n")
        .agg(mean=values.mean(), low=values.quantile(BAND[0], "linear"), high=values.quantile(BAND[1], "linear"))
        .sort("kind", "n")
    )


def _draw_kinds(ax: Axes, pairs: pl.DataFrame, column: str) -> None:
    """Draw the mean of each kind of pair on top of its single lines, or of a band if there are too many."""
    kinds = pairs["kind"].unique().sort().to_list()
    means = mean_over_pairs(pairs, column)
    for (kind, colour), marker in zip(style.colours(kinds).items(), style.MARKERS, strict=False):
        mean = means.filter(pl.col("kind") == kind)
        members = pairs.filter(pl.col("kind") == kind).partition_by("model_x", "model_y", maintain_order=True)
        if len(members) > SINGLE_LINES:
            ax.fill_between(mean["n"], mean["low"], mean["high"], color=colour, alpha=0.15, linewidth=0)
        elif len(members) > 1:
            for member in members:
                ax.plot(member["n"], member[column], color=colour, alpha=0.4, linewidth=0.6)
        if column == "score" and len(members) <= INTERVALS and {"low", "high"} <= set(pairs.columns):
            for member in members:
                ax.vlines(member["n"], _floats(member["low"]), _floats(member["high"]), color=colour, alpha=0.4)
        count = f"{len(members)} pairs" if len(members) > 1 else "1 pair"
        ax.plot(mean["n"], mean["mean"], color=colour, marker=marker, linewidth=2, label=f"{kind} ({count})")


def _draw_null(ax: Axes, pairs: pl.DataFrame) -> None:
    """Draw the scores of unrelated models: chance level, and mean threshold of the permutation null."""
    means = [name for name in ("chance", "threshold") if name in pairs.columns]
    by_n = pairs.group_by("n").agg(pl.col(means).mean()).sort("n")
    if "chance" in means and by_n["chance"].is_not_null().any():
        ax.plot(by_n["n"], _floats(by_n["chance"]), color=style.NEUTRAL, linestyle=":", label="chance")
    if "threshold" in means and by_n["threshold"].is_not_null().any():
        ax.plot(
            by_n["n"], _floats(by_n["threshold"]), color=style.NEUTRAL, linestyle="--", label="null threshold (mean)"
        )


def _floats(column: pl.Series) -> np.ndarray:
    return column.cast(pl.Float64).to_numpy()
