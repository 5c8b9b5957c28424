"""Alignment of training runs with other modalities and with what is given, against the step; and what they can do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from prh.figures import captions, style
from prh.modalities import colour_of, known
from prh.studies.trajectory.table import ALIGNMENT, COLUMNS

PANELS_ACROSS = 2
PANEL_HEIGHT = 2.3  # inches
GIVEN = 3  # at most so many panels of what is given, such as reality
SCORES = 2  # at most so many panels of scores
LABELS = {"bits_per_byte": "bits per byte", "top1": "accuracy of probes", "acc": "accuracy of tasks"}
OTHERS = 12  # single models are drawn as thin lines up to this many


@style.applied()
def draw(
    table: pl.DataFrame, statistics: pl.DataFrame, missing: Sequence[str] = (), tied: Sequence[str] = ()
) -> Figure:
    """Draw the alignment of each training run against the step, with the layer of the best pair and its scores.

    Wide lines are means over the models of the other modalities, thin lines single models; bands are the means of the
    pairs' intervals. What is given, such as the reality of the idealised world, has a panel of its own.

    Parameters
    ----------
    table, statistics, missing, tied
        As returned by ``prh.studies.trajectory.table``; ``tied`` are listed below the figure.

    Raises
    ------
    ValueError
        If a column is missing, a table is empty, or the table mixes settings.
    """
    captions.require(table, COLUMNS, statistics, "trajectory")
    aligned = table.filter(pl.col("quantity") == ALIGNMENT)
    label = captions.AXES[table["alignment"][0]]
    panels = [(f"{label} with other modalities", aligned.filter(of_models()), "y")]
    for name in aligned.filter(~of_models())["other"].unique().sort()[:GIVEN]:
        panels.append((f"{label} with {name}", aligned.filter(pl.col("other") == name), "y"))
    panels.append(("depth of the best layer", best_layers(aligned), "depth"))
    for metric in _metrics(table):
        panels.append((LABELS.get(metric, metric), table.filter(pl.col("quantity") == metric), "y"))
    panels = [panel for panel in panels if panel[1].height]

    down = -(-len(panels) // PANELS_ACROSS)
    fig = style.figure(style.PAGE_WIDTH, 0.7 + PANEL_HEIGHT * down)
    grid = fig.subplots(down, PANELS_ACROSS, sharex=True, squeeze=False).flatten()
    for ax in grid[len(panels) :]:
        ax.remove()
    runs = table["run"].unique(maintain_order=True)
    inks = _colours(table, runs)
    marks = style.markers(runs)
    for ax, (title, rows, column) in zip(grid, panels, strict=False):
        for run in inks:
            _draw_run(ax, rows.filter(pl.col("run") == run), column, run, inks[run], marks[run])
        _step_axis(ax, table["step"])
        ax.set_title(title)
        ax.grid(axis="y")
        ax.tick_params(labelbottom=True)
        if column == "depth":
            ax.set_ylim(-0.05, 1.05)
    for ax in grid[max(0, len(panels) - PANELS_ACROSS) : len(panels)]:
        ax.set_xlabel("step of training")
    grid[0].legend(loc="best")
    fig.suptitle(captions.heading(table, "along the training"), x=0.01, ha="left")
    notes = [
        "Wide: mean over the models of other modalities; thin: single models; bands: mean interval of the pairs. "
        "Depth: the layer of the best pair, 1 is the last.",
        _quoted(statistics),
        style.tied(tied),
    ]
    style.note_below(fig, " ".join(filter(None, notes)))
    return fig


def _colours(table: pl.DataFrame, runs: Sequence[str]) -> dict[str, str]:
    """The colour of each run: that of its modality, as in other figures, where no two runs share one."""
    modality = dict(table.select("run", "modality").unique().iter_rows())
    own = {run: colour_of(modality[run]) for run in runs}
    return own if len(set(own.values())) == len(own) else style.colours(runs)


def of_models() -> pl.Expr:
    """Whether a row is about a modality that models read, rather than about a brain or the reality of the world."""
    return pl.col("other_modality").is_in([name for name, modality in known().items() if not modality.is_given])


def best_layers(aligned: pl.DataFrame) -> pl.DataFrame:
    """The row of each checkpoint whose alignment is highest among those with models of other modalities."""
    others = aligned.filter(of_models())
    chosen = others if others.height else aligned
    return chosen.sort("y", descending=True, maintain_order=True).unique(("run", "step"), maintain_order=True)


def _metrics(table: pl.DataFrame) -> list[str]:
    """The metrics of scores to draw: the known ones first."""
    metrics = [name for name in table["quantity"].unique().sort() if name != ALIGNMENT]
    order = list(LABELS)
    return sorted(metrics, key=lambda name: order.index(name) if name in order else len(order))[:SCORES]


def _draw_run(ax: Axes, rows: pl.DataFrame, column: str, run: str, colour: str, marker: str) -> None:
    """Draw the mean of ``column`` over models or tasks at each step, its band and the single lines."""
    if rows.is_empty():
        return
    means = rows.group_by("step").agg(pl.col(column, "low", "high").mean()).sort("step")
    members = rows.partition_by("other", maintain_order=True) if column == "y" else []
    if 1 < len(members) <= OTHERS:
        for member in members:
            ax.plot(member["step"], member[column], color=colour, alpha=0.35, linewidth=0.5)
    if column == "y" and means["low"].is_not_null().all() and means["high"].is_not_null().all():
        ax.fill_between(means["step"], means["low"], means["high"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(means["step"], means[column], color=colour, marker=marker, linewidth=2, label=run)


def _step_axis(ax: Axes, steps: Iterable[int]) -> None:
    """A logarithmic axis if the steps span a factor of ten, with step 0 at its left end; ticks where they fit."""
    values = sorted(set(steps))
    positive = [value for value in values if value > 0]
    if positive and positive[-1] >= 10 * positive[0]:
        if values[0] == 0:
            ax.set_xscale("symlog", linthresh=positive[0], linscale=0.4)
        else:
            ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(x=0.04)
    width = (style.PAGE_WIDTH - 1) / PANELS_ACROSS
    ends = ax.transData.transform([(values[0], 0), (values[-1], 0)])[:, 0]
    span = (ends[1] - ends[0]) or 1.0
    labels, free = [], float("-inf")
    for value in values:
        text = f"{value:,}"
        position = width * (ax.transData.transform((value, 0))[0] - ends[0]) / span
        half = style.text_width(text, style.SMALL) / 2 + 0.02
        labels.append(text if position - half >= free else "")
        free = position + half if labels[-1] else free
    ax.set_xticks(values, labels)


def _quoted(statistics: pl.DataFrame) -> str:
    """The rank correlations as a sentence that says what their p is."""
    parts = [f"{row['panel']} with {row['group']}: {captions.trend(row)}" for row in statistics.to_dicts()]
    return (
        f"Rank correlation of step and mean alignment, {'; '.join(parts)}. p permutes the steps: it asks whether the "
        "order of a run's checkpoints could be chance, not whether another run would rise."
    )
