"""Figure 3: do language models that model text better align more with vision? One panel per vision family."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prh.core.statistics import linear_fit
from prh.figures import captions, style
from prh.studies.statistics_table import percent

COLUMNS = ("language", "vision", "vision_family", "x", "y", "vision_parameters", "source")
LABEL_SIZE = 6.0
LABEL_PITCH = 1.35 * LABEL_SIZE / 72  # inches between the labels of language models
LEGEND_PITCH = 0.13  # inches between the lines of a legend
PANEL_HEIGHT = 2.1


@style.applied()
def draw(
    table: pl.DataFrame,
    statistics: pl.DataFrame,
    missing: Sequence[str] = (),
    tied: Sequence[str] = (),
    *,
    alpha: float = 0.05,
) -> Figure:
    """Draw the alignment to each vision model against 1 - bits per byte of the language model.

    Each vision model has a least-squares line with its band, darker for more parameters; language models are named
    above each panel.

    Parameters
    ----------
    table, statistics, missing, tied
        As returned by ``prh.studies.figure3.table``; ``missing`` and ``tied`` are listed below the figure.
    alpha
        Bands have confidence 1 - alpha.

    Raises
    ------
    ValueError
        If a column is missing, a table is empty, or the table mixes settings.
    """
    captions.require(table, COLUMNS, statistics, "figure 3")
    languages = table.select("language", "x").unique().sort("x", "language")
    names = [name.rsplit("/", 1)[-1] for name in languages["language"]]
    families = table["vision_family"].unique(maintain_order=True).to_list()
    panel_width = max(1.55, LABEL_PITCH * (len(names) + 1), (style.PAGE_WIDTH - 0.6) / max(len(families), 2))
    label_height = style.longest_width(names, LABEL_SIZE)
    lines = table.group_by("vision_family").agg(pl.col("vision").n_unique())["vision"].max()
    height = PANEL_HEIGHT + label_height + 1.05 + LEGEND_PITCH * lines
    fig = style.figure(max(0.6 + panel_width * len(families), 5.8), height)
    panels = fig.subplots(1, len(families), sharex=True, sharey=True, squeeze=False)[0]
    for ax, family in zip(panels, families, strict=True):
        _lines(ax, table.filter(pl.col("vision_family") == family), alpha)
        title = f"{family}\n{captions.trend(captions.one(statistics, family, 'Spearman'))}"
        ax.set_title(title, fontsize=style.SMALL, pad=72 * (label_height + 0.16))
    span = np.ptp(languages["x"].to_numpy()) or 1.0
    panels[0].set_xlim(languages["x"].min() - 0.06 * span, languages["x"].max() + 0.06 * span)
    lowest, highest = (
        min(table["y"].min(), 0.0),
        table["y"].max(),
    )  # set by the points, because the bands of short lines can be very wide
    margin = 0.05 * (highest - lowest)
    panels[0].set_ylim(lowest - margin, highest + margin)
    for ax in panels:
        _name_languages(ax, languages["x"].to_numpy(), names, panel_width)
    panels[0].set_ylabel("alignment to vision")
    fig.suptitle(captions.heading(table, "of language with vision models"), x=0.01, ha="left")
    notes = [
        f"A line per vision model, darker with more parameters, with its {percent(alpha)} band. ρ (Spearman) over all "
        f"points of a panel, p from permuting the {len(names)} language models.",
        captions.sources(table),
        style.left_out(missing, "no bits per byte") if missing else "",
        style.tied(tied),
    ]
    style.note_below(fig, " ".join(filter(None, notes)))
    return fig


def _lines(ax: Axes, panel: pl.DataFrame, alpha: float) -> None:
    visions = panel.unique("vision").sort("vision_parameters", "vision")["vision"].to_list()
    # the light end of the colour map is too pale for thin lines on white
    shades = mpl.colormaps["YlGnBu"](np.linspace(1, 0.4, len(visions)))[::-1]
    for vision, label, shade in zip(visions, short_names(visions), shades, strict=True):
        points = panel.filter(pl.col("vision") == vision)
        x, y = points["x"].to_numpy(), points["y"].to_numpy()
        fit, ends = linear_fit(x, y), np.linspace(x.min(), x.max(), 60)
        low, high = fit.band(ends, 1 - alpha)
        ax.fill_between(ends, low, high, color=shade, alpha=0.15, linewidth=0)
        ax.plot(ends, fit.predict(ends), color=shade)
        ax.plot(x, y, "o", color=shade, markersize=3, markeredgecolor="white", markeredgewidth=0.3, label=label)
    ax.set_xlabel("1 − bits per byte")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.21), handletextpad=0.1, labelspacing=0.2, borderpad=0)


def _name_languages(ax: Axes, x: np.ndarray, names: Sequence[str], panel_width: float) -> None:
    """Write names above the panel, spread so that none touch, each with a thin line to its position on the x axis."""
    low, high = ax.get_xlim()
    positions = (x - low) / (high - low)
    labels = style.spread(positions, LABEL_PITCH / panel_width)
    labels += max(-labels[0], 0) + min(
        1 - labels[-1], 0
    )  # the panel is wide enough for all labels, so shifting is sufficient
    for position, label, name in zip(positions, labels, names, strict=True):
        ax.plot(
            [position, label], [1.0, 1.05], transform=ax.transAxes, color=style.NEUTRAL, linewidth=0.4, clip_on=False
        )
        ax.text(
            label, 1.06, name, transform=ax.transAxes, rotation=90, ha="center", va="bottom", fontsize=LABEL_SIZE
        ).set_in_layout(False)


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the leading and trailing words that all of them share.

    A single name is returned unchanged; so are all names if only a number would be left of one.
    """
    if len(names) < 2:
        return list(names)
    split = [re.split(r"(?<=[_./-])|(?=[_./-])", name) for name in names]
    first = _common(split)
    last = _common([words[first:][::-1] for words in split])
    if first + last >= min(map(len, split)):
        return list(names)
    short = ["".join(words[first : len(words) - last]).strip("_./-") for words in split]
    return short if all(re.search("[A-Za-z]", name) for name in short) else list(names)


def _common(lists: Sequence[Sequence[str]]) -> int:
    """Number of leading entries that all ``lists`` share."""
    return sum(1 for _ in takewhile(lambda entries: len(set(entries)) == 1, zip(*lists, strict=False)))
