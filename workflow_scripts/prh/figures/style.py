"""One style for all figures: sizes, fonts, colours that colour-blind readers can distinguish, and file formats.

A drawing function is decorated with ``@style.applied()``, creates its figure with ``style.figure(width, height)`` and
returns it; ``style.save`` writes it. Nothing here uses pyplot, so figures share no state.
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

PAGE_WIDTH = 7.0  # inches: a figure as wide as a page
FONT_SIZE = 8.0  # points at printed size
SMALL = 7.0
SMALLEST = 4.5  # no text is smaller; the figure grows instead

# Okabe & Ito (2008) without yellow, which is invisible on white; ordered so that consecutive colours differ most.
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
    """The style of all figures, as a context (``with style.applied():``) or a decorator (``@style.applied()``)."""
    return mpl.rc_context(RC)


def figure(width: float = PAGE_WIDTH, height: float | None = None) -> Figure:
    """An empty figure of ``width`` x ``height`` inches (golden ratio by default) with constrained layout."""
    height = width / 1.618 if height is None else height
    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def save(fig: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write ``fig`` as SVG and as PNG (200 dpi) and return their paths; ``path`` may end in .svg, .png or neither.

    Each file is written atomically, and the same figure gives the same bytes.
    """
    path = Path(path)
    stem = (
        path.stem if path.suffix in (".svg", ".png") else path.name
    )  # not path.stem, because the name of a model may contain dots
    svg, png = (path.with_name(f"{stem}.{suffix}") for suffix in ("svg", "png"))
    with applied():
        fig.draw_without_rendering()  # the layout is final only at the second drawing
        with writing(svg) as part:
            fig.savefig(part, format="svg", metadata={"Date": None, "Creator": None})
        with writing(png) as part:
            fig.savefig(part, format="png", dpi=200, metadata={"Software": None})
    return svg, png


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in order of first appearance; they repeat after seven: combine with ``markers``."""
    return {name: OKABE_ITO[i % len(OKABE_ITO)] for i, name in enumerate(dict.fromkeys(names))}


def markers(names: Iterable[str]) -> dict[str, str]:
    """A marker for each name; they repeat after eight, so colour and marker together distinguish 56 names."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(dict.fromkeys(names))}


def value_map(name: str = VALUE_MAP) -> Colormap:
    """The colour map of that name, with missing values in light grey."""
    return mpl.colormaps[name].with_extremes(bad=MISSING_COLOUR)


def label_size(count: int, inches: float, largest: float = SMALL) -> float:
    """Largest font size in points at which ``count`` one-line labels, stacked over ``inches``, do not touch."""
    return min(largest, 0.8 * inches * 72 / max(count, 1))


def text_width(text: str, size: float) -> float:
    """Width in inches of ``text`` at ``size`` points, slightly overestimated for DejaVu Sans."""
    return len(text) * 0.62 * size / 72


def longest_width(names: Iterable[str], size: float) -> float:
    """Estimated width in inches of the longest of ``names`` at ``size`` points (0.0 for none)."""
    return max((text_width(name, size) for name in names), default=0.0)


def name_ticks(ax: Axes, names: Sequence[str], pitch: float, *, hanging: bool = False) -> None:
    """Write ``names`` below 0, 1, ... on the x axis: horizontal if they fit into ``pitch`` inches, else vertical.

    ``hanging`` names are ignored by the layout; use it for a panel with an empty cell of the grid below it.
    """
    horizontal = longest_width(names, SMALL) < 0.95 * pitch
    size = SMALL if horizontal else label_size(1, pitch)
    look = {"fontsize": size, "rotation": 0 if horizontal else 90, "ha": "center", "va": "top"}
    ax.set_xticks(range(len(names)), [] if hanging else names, **look)
    if hanging:
        below = ax.get_xaxis_transform() + ScaledTranslation(0, -6 / 72, ax.figure.dpi_scale_trans)
        for position, name in enumerate(names):
            ax.text(position, 0, name, transform=below, in_layout=False, **look)


def log_ticks(ax: Axes, values: Iterable[float], inches: float) -> None:
    """Make the x axis, ``inches`` long, logarithmic with ticks at ``values``, labelling as many as fit."""
    values = sorted(set(values))
    ax.set_xscale("log")
    ax.minorticks_off()
    span = math.log(values[-1] / values[0]) or 1.0
    labels, free = [], -math.inf
    for value in values:
        text = f"{value:,}"
        position = inches * math.log(value / values[0]) / span
        half = text_width(text, SMALL) / 2 + 0.03
        labels.append(text if position - half >= free else "")
        free = position + half if labels[-1] else free
    ax.set_xticks(values, labels)


def label_lines(ax: Axes, ends: Mapping[str, float], inks: Mapping[str, object], x: float, height: float) -> None:
    """Write the name of each line to the right of its last point (``x``, ``ends[name]``), spread so that none overlap.

    ``height`` is the height of the panel in inches; names shrink if there are too many. Call it last, because it fixes
    the limits of the y axis.
    """
    size = label_size(len(ends), height)
    gap = 1.25 * size / 72 / height
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    names = sorted(ends, key=ends.get)
    wanted = [(ends[name] - low) / (high - low) for name in names]
    for name, position in zip(names, spread(wanted, gap, gap / 2, 1 - gap / 2), strict=True):
        ax.annotate(
            name,
            (x, ends[name]),
            xytext=(1.05, position),
            textcoords="axes fraction",
            fontsize=size,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": inks[name],
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "patchA": None,  # start at the middle of the left side of the name, not at the edge of its box
                "shrinkA": 1,
                "shrinkB": 2,
            },
        )


def spread(wanted: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
    """Positions as close as possible to ``wanted`` (ascending) and at least ``gap`` apart, for labels without overlap.

    Least squares under the gap constraint, solved by pooling adjacent labels that collide (isotonic regression). The
    positions stay between ``low`` and ``high`` if there is room; otherwise only ``high`` is respected.
    """
    offsets = gap * np.arange(len(wanted))
    pools: list[tuple[float, int]] = []
    for value in np.asarray(wanted, float) - offsets:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (upper, upper_count), (lower, lower_count) = pools.pop(), pools.pop()
            count = lower_count + upper_count
            pools.append(((lower * lower_count + upper * upper_count) / count, count))
    positions = np.array([value for value, count in pools for _ in range(count)])
    return np.minimum(np.maximum(positions, low), high - gap * (len(wanted) - 1)) + offsets


def cell_numbers(ax: Axes, image: AxesImage, pitch: float) -> None:
    """Write each finite value of ``image`` into its cell as .123, in black or white, whichever has more contrast.

    ``pitch`` is the side of a cell in inches; nothing is written if the numbers would be smaller than ``SMALLEST``.
    """
    values = np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan)
    size = min(SMALL, 0.85 * pitch * 72 / (0.62 * 4))
    if size < SMALLEST:
        return
    for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
        colour = readable_on(image.to_rgba(values[row, column]))
        ax.text(column, row, short_number(values[row, column]), size=size, color=colour, ha="center", va="center")


def short_number(value: float) -> str:
    """Three decimals without the leading zero (.123, -.050); two decimals from 1 upwards (1.00)."""
    if abs(value) >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.3f}".replace("0.", ".", 1)


def readable_on(rgba: Sequence[float]) -> str:
    """Black or white, whichever has more contrast on ``rgba`` (relative luminance of WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgba[:3]]
    return "black" if np.dot((0.2126, 0.7152, 0.0722), linear) > 0.179 else "white"


def heading(fig: Figure, what: str, details: str = "") -> None:
    """Write "what (details)" above the figure, left-aligned and wrapped to its width."""
    width, _ = fig.get_size_inches()
    letters = math.floor((width - 0.1) / (0.57 * RC["figure.titlesize"] / 72))
    text = f"{what} ({details})" if details else what
    lines = [text] if len(text) <= letters else [*textwrap.wrap(what, letters), *textwrap.wrap(details, letters)]
    fig.suptitle("\n".join(lines), x=0.01, ha="left")


def note_below(fig: Figure, text: str) -> None:
    """Write a small wrapped note below everything else; the figure grows by the height of the note.

    Call it once, after everything else; an empty text leaves the figure unchanged. ``fig`` must come from ``figure``.
    """
    if not text:
        return
    width, height = fig.get_size_inches()
    lines = textwrap.wrap(text, max(20, math.floor(width / text_width("x", SMALL - 1)) - 2))
    note_height = (len(lines) * 1.35 * (SMALL - 1) + 6) / 72
    total = height + note_height
    fig.set_size_inches(width, total)
    fig.get_layout_engine().set(rect=(0, note_height / total, 1, 1 - note_height / total))
    x, y = 0.06 / width, 0.04 / total
    fig.text(
        x, y, "\n".join(lines), fontsize=SMALL - 1, color=NEUTRAL, ha="left", va="bottom", linespacing=1.35
    ).set_in_layout(False)


def describe(metric: str, k: object, n: object) -> str:
    """``mutual_knn, k = 10, n = 1,024``; a k or n that is None is omitted, one that is text is used as it is."""
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
    """The sentence for a note that names models with many ties; empty without any."""
    names = ", ".join(dict.fromkeys(names))
    share = f"{BOUND * 100:g} %"
    return f"Ties: more than {share} of the k-th neighbours in {names} are chosen at random." if names else ""


def require_columns(table: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise ValueError unless ``table``, called ``what`` in messages, has all ``columns`` and at least one row."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"The {what} table has no column {', '.join(missing)}; a figure needs {', '.join(columns)}.")
    if table.is_empty():
        raise ValueError(f"The {what} table is empty; a figure needs at least one row.")


def require_one(table: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    """Raise ValueError unless each of ``columns`` holds a single value, as needed for one figure."""
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
    """The rows of the pairs (``columns``) that have every value of ``over``, so that their means are comparable."""
    return table.filter(pl.col(over).n_unique().over(columns) == table[over].n_unique())
