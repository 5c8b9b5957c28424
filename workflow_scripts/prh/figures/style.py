"""One look for all figures: sizes, fonts, colours that a colour-blind reader tells apart, and how a figure is saved.

A drawing function is decorated with ``@style.applied()``, starts from ``style.figure(width, height)`` and returns it;
``style.save`` writes it. Nothing here touches pyplot, so no state is shared between figures.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.transforms import ScaledTranslation

from prh.core.ties import BOUND
from prh.io.files import writing

PAGE_WIDTH = 7.0  # inches: a figure over the width of a page
FONT_SIZE = 8.0  # points at printed size
SMALL = 7.0
SMALLEST = 4.5  # below this a figure grows instead

# Okabe & Ito (2008) without their yellow, which is lost on white; in an order in which neighbours differ most.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
VALUE_MAP = "viridis"
MISSING_COLOUR = "#E8E8E8"
NEUTRAL = "#666666"

RC = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same everywhere
    "font.size": FONT_SIZE,
    "axes.titlesize": FONT_SIZE + 1,
    "axes.labelsize": FONT_SIZE,
    "axes.titlelocation": "left",
    "axes.titlepad": 6.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.prop_cycle": mpl.cycler(color=OKABE_ITO),
    "axes.grid": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.title_fontsize": SMALL,
    "figure.titlesize": FONT_SIZE + 1,
    "figure.dpi": 100,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "image.interpolation": "nearest",
    "image.cmap": VALUE_MAP,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # looks the same without the font installed
    "svg.hashsalt": "prh",  # element ids depend on the content only
    "mathtext.fontset": "dejavusans",
}


def applied() -> AbstractContextManager[None]:
    """The look of the house, as a context (``with style.applied():``) or a decorator (``@style.applied()``)."""
    return mpl.rc_context(RC)


def figure(width: float = PAGE_WIDTH, height: float | None = None) -> Figure:
    """An empty figure of ``width`` x ``height`` inches (golden ratio by default) with constrained layout."""
    height = width / 1.618 if height is None else height
    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def save(fig: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write ``fig`` as SVG and as PNG (200 dpi) beside each other; ``path`` may end in .svg, .png or neither.

    Each file appears complete or not at all, and the same figure gives the same bytes.
    Returns the paths of the SVG and the PNG.
    """
    path = Path(path)
    stem = path.stem if path.suffix in (".svg", ".png") else path.name  # a model's name may hold dots
    svg, png = (path.with_name(f"{stem}.{kind}") for kind in ("svg", "png"))
    with applied():
        fig.draw_without_rendering()  # the layout settles at the second drawing
        with writing(svg) as part:
            fig.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
        with writing(png) as part:
            fig.savefig(part, format="png", dpi=200, metadata={"Software": None})
    return svg, png


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in order of first appearance; after seven they repeat, so pair them with ``markers``."""
    return {name: OKABE_ITO[i % len(OKABE_ITO)] for i, name in enumerate(dict.fromkeys(names))}


def markers(names: Iterable[str]) -> dict[str, str]:
    """A marker for each name; there are eight, so that colour and marker together tell 56 names apart."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(dict.fromkeys(names))}


def value_map(name: str = VALUE_MAP) -> Colormap:
    """The colour map of that name, with missing values in light grey."""
    return mpl.colormaps[name].with_extremes(bad=MISSING_COLOUR)


def label_size(count: int, inches: float, largest: float = SMALL) -> float:
    """Font size in points at which ``count`` one-line labels stacked over ``inches`` do not touch."""
    return min(largest, 0.8 * inches * 72 / max(count, 1))


def text_width(text: str, size: float) -> float:
    """Width in inches of ``text`` at ``size`` points, estimated for DejaVu Sans (a little generous)."""
    return len(text) * 0.62 * size / 72


def longest_width(names: Iterable[str], size: float) -> float:
    """Estimated width in inches of the longest of ``names`` at ``size`` points (0.0 for none)."""
    return max((text_width(name, size) for name in names), default=0.0)


def name_ticks(ax: Axes, names: Sequence[str], pitch: float, *, hanging: bool = False) -> None:
    """Write ``names`` under the places 0, 1, ... of the x axis: level where they fit ``pitch`` inches, else upright.

    ``hanging`` names take no room in the layout: for a panel with nothing below it in a grid that others fill.
    """
    level = longest_width(names, SMALL) < 0.95 * pitch
    size = SMALL if level else label_size(1, pitch)
    look = {"fontsize": size, "rotation": 0 if level else 90, "ha": "center", "va": "top"}
    ax.set_xticks(range(len(names)), [] if hanging else names, **look)
    if hanging:
        below = ax.get_xaxis_transform() + ScaledTranslation(0, -6 / 72, ax.figure.dpi_scale_trans)
        for place, name in enumerate(names):
            ax.text(place, 0, name, transform=below, in_layout=False, **look)


def log_ticks(ax: Axes, values: Iterable[float], inches: float) -> None:
    """A logarithmic x axis, ``inches`` long, with ticks at ``values``; numbers at as many of them as fit."""
    values = sorted(set(values))
    ax.set_xscale("log")
    ax.minorticks_off()
    span = math.log(values[-1] / values[0]) or 1.0
    labels, free = [], -math.inf
    for value in values:
        text = f"{value:,}"
        place = inches * math.log(value / values[0]) / span
        half = text_width(text, SMALL) / 2 + 0.03
        labels.append(text if place - half >= free else "")
        free = place + half if labels[-1] else free
    ax.set_xticks(values, labels)


def label_lines(ax: Axes, ends: Mapping[str, float], inks: Mapping[str, object], x: float, height: float) -> None:
    """Write each line's name right of its last point (``x``, ``ends[name]``), moved apart where lines end close.

    ``height`` is the panel's in inches; the names shrink if they are too many for it. Everything else must be drawn:
    the limits of the y axis stay as they are now.
    """
    size = label_size(len(ends), height)
    gap = 1.25 * size / 72 / height
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    names = sorted(ends, key=ends.get)
    wanted = [(ends[name] - low) / (high - low) for name in names]
    for name, place in zip(names, spread(wanted, gap, gap / 2, 1 - gap / 2), strict=True):
        ax.annotate(
            name,
            (x, ends[name]),
            xytext=(1.05, place),
            textcoords="axes fraction",
            fontsize=size,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": inks[name],
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "patchA": None,  # from the middle of the name's left side, not from where the line leaves its box
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def spread(wanted: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    """Positions as near as can be to ``wanted`` (ascending) that stay at least ``gap`` apart: labels without overlap.

    Least squares under the gap constraint, by pooling neighbours that collide (isotonic regression). The positions keep
    between ``low`` and ``high`` if there is room for them (at the top they win over ``low``).
    """
    offsets = gap * np.arange(len(wanted))
    pools: list[tuple[float, int]] = []
    for value in np.asarray(wanted, float) - offsets:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (b, many), (a, few) = pools.pop(), pools.pop()
            pools.append(((a * few + b * many) / (few + many), few + many))
    places = np.array([value for value, count in pools for _ in range(count)])
    return np.minimum(np.maximum(places, low), high - gap * (len(wanted) - 1)) + offsets


def cell_numbers(ax: Axes, image: AxesImage, pitch: float) -> None:
    """Write each finite value of ``image`` into its cell as .123, black or white, whichever is read better.

    ``pitch`` is the side of a cell in inches; nothing is written where a number would be smaller than ``SMALLEST``.
    """
    values = np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan)
    size = min(SMALL, 0.85 * pitch * 72 / (0.62 * 4))
    if size < SMALLEST:
        return
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        colour = readable_on(image.to_rgba(values[row, column]))
        ax.text(column, row, short_number(values[row, column]), size=size, color=colour, ha="center", va="center")


def short_number(value: float) -> str:
    """Three decimals without the leading zero (.123, -.050), two from 1 on (1.00)."""
    if abs(value) >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.3f}".replace("0.", ".", 1)


def readable_on(rgba: Sequence[float]) -> str:
    """Black or white: the one with more contrast on ``rgba`` (relative luminance as WCAG 2 defines it)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgba[:3]]
    return "black" if np.dot((0.2126, 0.7152, 0.0722), linear) > 0.179 else "white"


def heading(fig: Figure, what: str, details: str = "") -> None:
    """Write "what (details)" over the figure from its left edge; what does not fit its width goes on the next line."""
    width, _ = fig.get_size_inches()
    letters = math.floor((width - 0.1) / (0.57 * RC["figure.titlesize"] / 72))
    text = f"{what} ({details})" if details else what
    lines = [text] if len(text) <= letters else [*textwrap.wrap(what, letters), *textwrap.wrap(details, letters)]
    fig.suptitle("\n".join(lines), x=0.01, ha="left")


def note_below(fig: Figure, text: str) -> None:
    """Write a small wrapped note under everything else; the figure grows by the note's height.

    Call it once, last; an empty text leaves the figure as it is. ``fig`` must come from ``figure``.
    """
    if not text:
        return
    width, height = fig.get_size_inches()
    lines = textwrap.wrap(text, max(20, math.floor(width / text_width("x", SMALL - 1)) - 2))
    room = (len(lines) * 1.35 * (SMALL - 1) + 6) / 72
    total = height + room
    fig.set_size_inches(width, total)
    fig.get_layout_engine().set(rect=(0, room / total, 1, 1 - room / total))
    x, y = 0.06 / width, 0.04 / total
    fig.text(
        x, y, "\n".join(lines), fontsize=SMALL - 1, color=NEUTRAL, ha="left", va="bottom", linespacing=1.35
    ).set_in_layout(False)


def describe(metric: str, k: object, n: object) -> str:
    """``mutual_knn, k = 10, n = 1,024``; a k or n that is null, or a text of its own, is taken as it is."""
    parts = [
        f"{name}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{v:,}" if isinstance(v, int) else v
        for name, v in (("k", k), ("n", n))
        if v is not None
    ]
    return ", ".join([metric, *parts])


def left_out(names: Iterable[str], why: str = "") -> str:
    """The sentence "Left out (why): a, b." for a note."""
    return f"Left out{f' ({why})' if why else ''}: {', '.join(dict.fromkeys(names))}."


def tied(names: Iterable[str]) -> str:
    """The sentence that names models whose neighbours are largely drawn by lot; empty without any."""
    names = ", ".join(dict.fromkeys(names))
    share = f"{BOUND * 100:g} %"
    return f"Ties: more than {share} of the k-th neighbours in {names} are drawn by lot." if names else ""


def require_columns(table: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise ValueError unless ``table`` (``what`` in the message) has all of ``columns`` and at least one row."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"The {what} table has no column {', '.join(missing)}; a figure needs {', '.join(columns)}.")
    if table.is_empty():
        raise ValueError(f"The {what} table is empty; a figure needs at least one row.")


def require_one(table: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise ValueError unless each of ``columns`` holds a single value: the rows of one figure."""
    for name in columns:
        values = table[name].unique().sort().to_list()
        if len(values) > 1:
            shown = ", ".join(map(str, values[:4]))
            raise ValueError(f"The {what} table mixes {len(values)} values of {name} ({shown}); filter one.")


def require_unique(table: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise ValueError if two rows of ``table`` agree in all of ``columns``."""
    twice = table.select(columns).filter(table.select(columns).is_duplicated())
    if not twice.is_empty():
        row = ", ".join(map(str, twice.row(0)))
        raise ValueError(f"The {what} table gives {row} more than once; keep one row per {', '.join(columns)}.")


def complete_pairs(table: pl.DataFrame, columns: Sequence[str], over: str) -> pl.DataFrame:
    """The rows of the pairs (``columns``) that have every value of ``over``, so that means over pairs compare."""
    return table.filter(pl.col(over).n_unique().over(columns) == table[over].n_unique())
