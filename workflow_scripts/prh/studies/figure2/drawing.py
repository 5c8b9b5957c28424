"""Figure 2: do models that solve more tasks agree more? Alignment within bins of solved tasks, and a map of models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prh.figures import captions, style
from prh.studies.statistics_table import percent

COLUMNS = ("model", "family", "solved", "tasks", "bin", "bins", "average", "map_x", "map_y")


@style.applied()
def draw(
    table: pl.DataFrame,
    statistics: pl.DataFrame,
    missing: Sequence[str] = (),
    tied: Sequence[str] = (),
    *,
    tasks: str = "VTAB",
    alpha: float = 0.05,
) -> Figure:
    """Draw mean alignment per bin of solved tasks (left) and the models' map, coloured by mean score (right).

    Each bar shows the standard error as if pairs were independent (thick) and the jackknife interval over models (thin;
    a note says if there is none, as in a bin of two models). A bin of fewer than two models has no pair and no bar.

    Parameters
    ----------
    table, statistics, missing, tied
        As returned by ``prh.studies.figure2.table``; ``missing`` and ``tied`` are listed below the figure.
    tasks
        Name of the tasks on the axes.
    alpha
        1 - confidence of the intervals in ``statistics``, for the note.

    Raises
    ------
    ValueError
        If a column is missing, a table is empty, or the table mixes settings.
    """
    captions.require(table, COLUMNS, statistics, "figure 2")
    fig = style.figure(style.PAGE_WIDTH, 3.1)
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.15))
    _bars(left, table, statistics.filter(pl.col("panel") == "bins"), tasks)
    _map(fig, right, table, tasks)
    left.set_title(f"all pairs: {captions.trend(captions.one(statistics, 'all', 'Spearman'))}", fontsize=style.SMALL)
    fig.suptitle(captions.heading(table, "of vision models"), x=0.01, ha="left")
    note = _note(statistics.filter(pl.col("panel") == "bins"), alpha)
    left_out = f" {style.left_out(missing, f'no score on every {tasks} task')}" if missing else ""
    style.note_below(fig, " ".join(filter(None, [note + left_out, style.tied(tied)])))
    return fig


def _note(rows: pl.DataFrame, alpha: float) -> str:
    note = (
        "Bars: mean over pairs within the bin; thick: standard error, pairs as if independent; "
        f"thin: {percent(alpha)} jackknife over models."
    )
    without = rows.filter(pl.col("low").is_null() | pl.col("low").is_nan())
    if without.is_empty():
        return note
    return f"{note} No interval for {len(without)} of {len(rows)} bins: fewer than three models, or all equal."


def _bars(ax: Axes, table: pl.DataFrame, rows: pl.DataFrame, tasks: str) -> None:
    bins = table["bins"][0]
    for row in rows.iter_rows(named=True):
        position, mean = int(row["group"]), row["value"]
        ax.bar(position, mean, width=0.72, color="#9DC3E0")
        if row["low"] is not None:
            ax.plot([position, position], [row["low"], row["high"]], color=style.NEUTRAL, linewidth=0.8)
        if row["stderr"] is not None:
            ax.plot([position, position], [mean - row["stderr"], mean + row["stderr"]], color="black", linewidth=2.4)
    edges = np.linspace(0, 100, bins + 1).round().astype(int)
    counts = np.bincount(table["bin"], minlength=bins)
    names = [
        f"{low}–{high}\n{count} model{'' if count == 1 else 's'}"
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    ax.set_xticks(range(bins), names)
    ax.set_xlim(-0.6, bins - 0.4)
    ax.set_ylim(bottom=min(0, *ax.get_ylim()))
    ax.set_xlabel(f"{tasks} tasks solved (%, of {table['tasks'][0]})")
    ax.set_ylabel("alignment within the bin")


def _map(fig: Figure, ax: Axes, table: pl.DataFrame, tasks: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)
    mapped = table.drop_nulls(["map_x", "map_y"])
    if mapped.is_empty():
        ax.text(0.5, 0.5, "a map needs four models", transform=ax.transAxes, ha="center", color=style.NEUTRAL)
        return
    families = sorted(mapped["family"].unique())
    low, high = mapped["average"].min(), mapped["average"].max()
    for family, marker in style.markers(families).items():
        members = mapped.filter(pl.col("family") == family)
        points = ax.scatter(
            members["map_x"], members["map_y"], c=members["average"],
            cmap=style.value_map(), vmin=low, vmax=high, marker=marker, s=34,
            edgecolors="black", linewidths=0.5, label=family,
        )  # fmt: skip
    ax.margins(0.08)
    ax.set_xlabel("UMAP of −log(alignment)")
    bar = fig.colorbar(points, ax=ax, aspect=24, pad=0.02)
    bar.set_label(f"average {tasks} score")
    bar.outline.set_visible(False)
    if 1 < len(families) <= len(style.MARKERS):
        legend = ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, handletextpad=0.2, columnspacing=1)
        for handle in legend.legend_handles:
            handle.set_array(None)
            handle.set_facecolor("white")
