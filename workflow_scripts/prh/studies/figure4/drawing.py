"""Figure 4: does alignment to vision predict what a language model can do? One panel per downstream task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from prh.core.statistics import linear_fit
from prh.figures import captions, style
from prh.studies.statistics_table import percent

COLUMNS = (
    "task", "task_metric", "model", "x", "y", "source", "shots", "parameters", "rank", "monotone", "reference",
    "reference_models",
)  # fmt: skip
LABEL_SIZE = 5.5
GAPS = (1.5, 6, 12, 20, 30, 42)  # points between a disc and its name
Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels
AREA = (10.0, 140.0)  # points²: the discs of the smallest and of the largest model


@style.applied()
def draw(
    table: pl.DataFrame,
    statistics: pl.DataFrame,
    missing: Sequence[str] = (),
    tied: Sequence[str] = (),
    *,
    alpha: float = 0.05,
) -> Figure:
    """Draw the score on each task against alignment to vision, one disc per language model.

    The area of a disc shows the number of parameters, its colour the rank in language modelling; a dashed edge marks a
    published score. Solid line: least squares with its 1 - ``alpha`` band; dashed line: best monotone fit.

    Parameters
    ----------
    table, statistics, missing, tied
        As returned by ``prh.studies.figure4.table``; ``missing`` and ``tied`` are listed below the figure.
    alpha
        Bands have confidence 1 - alpha.

    Raises
    ------
    ValueError
        If a column is missing, a table is empty, or the table mixes settings.
    """
    captions.require(table, COLUMNS, statistics, "figure 4")
    tasks = table["task"].unique(maintain_order=True).to_list()
    fig = style.figure(max(style.PAGE_WIDTH, 3.4 * len(tasks)), 4.2)
    panels = fig.subplots(1, len(tasks), sharex=True, squeeze=False)[0]
    for ax, task in zip(panels, tasks, strict=True):
        discs = _panel(ax, table.filter(pl.col("task") == task), statistics, alpha)
    bar = fig.colorbar(discs, ax=panels, aspect=26, pad=0.01, ticks=MaxNLocator(integer=True))
    bar.set_label("rank by bits per byte (1 = best)")
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)
    count = table["reference_models"].max()
    over = f", mean over {count} models" if count > 1 else ""
    for ax in panels:
        ax.set_xlabel(f"alignment to vision ({table['reference'][0]}{over})")
    fig.suptitle(captions.heading(table, "and downstream scores of language models"), x=0.01, ha="left")
    _size_legend(panels[0], table["parameters"].to_numpy())
    notes = [
        f"Solid: least squares with its {percent(alpha)} band; dashed: best monotone fit. ρ (Spearman), p from "
        f"permuting the {table['model'].n_unique()} models.",
        captions.sources(table),
        "Dashed edge: published score." if (table["source"] != "measured").any() else "",
        style.left_out(missing, "a score is lacking") if missing else "",
        style.tied(tied),
    ]
    style.note_below(fig, " ".join(filter(None, notes)))
    fig.draw_without_rendering()  # fixes the size of the panels, which the positions of the names depend on
    for ax, task in zip(panels, tasks, strict=True):
        _name_discs(ax, table.filter(pl.col("task") == task), table["parameters"].to_numpy())
    return fig


def _panel(ax: Axes, panel: pl.DataFrame, statistics: pl.DataFrame, alpha: float) -> PathCollection:
    task, metric, shots = panel.select("task", "task_metric", "shots").row(0)
    x, y = panel["x"].to_numpy(), panel["y"].to_numpy()
    fit, ends = linear_fit(x, y), np.linspace(x.min(), x.max(), 60)
    low, high = fit.band(ends, 1 - alpha)
    ax.fill_between(ends, low, high, color=style.MISSING_COLOUR, linewidth=0)
    ax.plot(ends, fit.predict(ends), color=style.NEUTRAL)
    ax.plot(x, panel["monotone"], color=style.OKABE_ITO[1], linestyle="--", linewidth=1.0)
    measured = panel["source"] == "measured"
    discs = ax.scatter(
        x, y, s=_areas(panel["parameters"].to_numpy()), c=panel["rank"], cmap=style.value_map().reversed(),
        edgecolors="black", linewidths=0.5, zorder=3,
        linestyles=["-" if is_own else (0, (2, 1)) for is_own in measured],
    )  # fmt: skip
    ax.set_xlim(*_widened(x, 0.15))
    ax.set_ylim(*_widened(y, 0.1))  # the band may extend beyond the panel
    r2 = {fit_name: captions.one(statistics, task, f"R2 {fit_name}")["value"] for fit_name in ("linear", "monotone")}
    quoted_r2 = ", ".join(f"{fit_name} R² = {value:.2f}" for fit_name, value in r2.items() if value is not None)
    trend = captions.trend(captions.one(statistics, task, "Spearman"))
    ax.set_title(f"{task}: {trend}\n{quoted_r2}", fontsize=style.SMALL)
    few_shot = "" if shots is None else f", {shots}-shot"
    ax.set_ylabel(f"{task}\n({metric.replace(',', ', ')}{few_shot})")
    return discs


def _widened(values: np.ndarray, share: float) -> tuple[float, float]:
    margin = share * (np.ptp(values) or 1.0)
    return values.min() - margin, values.max() + margin


def _areas(parameters: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Disc areas in points², linear in the logarithm of the parameter count, from AREA[0] to AREA[1] over ``among``."""
    logs = np.log(parameters)
    span = np.log(parameters if among is None else among)
    share = (logs - span.min()) / (np.ptp(span) or 1.0)
    return AREA[0] + share * (AREA[1] - AREA[0])


def _size_legend(ax: Axes, parameters: np.ndarray) -> None:
    shown = np.unique(np.quantile(parameters, [0, 0.5, 1], method="nearest"))
    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=np.sqrt(area), markerfacecolor="white",
               markeredgecolor="black", markeredgewidth=0.5, label=short_count(count))
        for count, area in zip(shown, _areas(shown, parameters), strict=True)
    ]  # fmt: skip
    ax.legend(handles=handles, title="parameters", loc="best", labelspacing=1.0, handletextpad=0.6)


def short_count(count: float) -> str:
    """A number of parameters as text: ``260k``, ``1.1B``, ``65B``."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * unit:
            return f"{count / unit:.2g}{name}" if count < 99.5 * unit else f"{count / unit:.0f}{name}"
    return f"{count:.0f}"


def _name_discs(ax: Axes, panel: pl.DataFrame, parameters: np.ndarray) -> None:
    """Write the name of each model near its disc, where it overlaps least with discs, names and the panel edge."""
    pixels = ax.figure.dpi / 72
    centres = ax.transData.transform(panel.select("x", "y").to_numpy())
    radii = np.sqrt(_areas(panel["parameters"].to_numpy(), parameters)) / 2 * pixels
    frame = ax.get_window_extent()
    taken = [(*(c - r), *(c + r)) for c, r in zip(centres, radii, strict=True)]
    legend = ax.get_legend()
    if legend is not None:
        taken.append(tuple(legend.get_window_extent().extents))
    for point, centre, radius, model in zip(panel.select("x", "y").rows(), centres, radii, panel["model"], strict=True):
        label = ax.annotate(
            model.rsplit("/", 1)[-1], point, (0, 0), textcoords="offset points", ha="center", va="center",
            fontsize=LABEL_SIZE, zorder=4,
        )  # fmt: skip
        label.set_in_layout(False)
        size = np.array(label.get_window_extent().size) + pixels
        box = min(_boxes(centre, radius, size, pixels), key=lambda b: _cost(b, centre, taken, frame.extents))
        taken.append(box)
        middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        label.set_position((middle - centre) / pixels)
        nearest = np.clip(centre, box[:2], box[2:])
        if np.hypot(*(nearest - centre)) > radius + 4 * pixels:
            leader = {"arrowstyle": "-", "color": style.NEUTRAL, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0}
            offset = (nearest - centre) / pixels
            ax.annotate("", point, offset, textcoords="offset points", arrowprops=leader).set_in_layout(False)


def _boxes(centre: np.ndarray, radius: float, size: np.ndarray, pixels: float) -> Iterator[Box]:
    """Candidate boxes for a name around its disc, nearest first."""
    for gap, angle in product(GAPS, np.linspace(0, 2 * np.pi, 16, endpoint=False)):
        towards = np.array([np.cos(angle), np.sin(angle)])
        middle = centre + towards * (radius + gap * pixels + np.abs(towards) * size / 2)
        yield (*(middle - size / 2), *(middle + size / 2))


def _cost(box: Box, centre: np.ndarray, taken: Sequence[Box], frame: Box) -> float:
    """Weighted area (pixels²) of ``box`` that overlaps with others or lies outside ``frame``, plus the distance."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    covered = sum(_overlap(box, other) for other in taken)
    outside = area - _overlap(box, frame)
    distance = np.hypot((box[0] + box[2]) / 2 - centre[0], (box[1] + box[3]) / 2 - centre[1])
    return 100 * (covered + outside) + distance


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
