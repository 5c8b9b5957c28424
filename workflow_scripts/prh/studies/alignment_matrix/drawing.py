"""Heat map model x model: alignment of each pair of models at its best pair of layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from prh.core.ties import tied_models
from prh.figures import style
from prh.modalities import colour_of
from prh.studies.pairs import square

CELL = 0.46  # inches, the side of a cell if there is room
SMALLEST_CELL = 0.08  # inches; with more models the figure grows over the page, to be read on a screen
BRACKET = 0.09  # inches between the cells and the brackets of families and modalities
TITLES = {"score": "Alignment", "calibrated": "Calibrated alignment"}


@style.applied()
def draw(
    best: pl.DataFrame, models: pl.DataFrame, *, value: str = "score", alpha: float = 0.05, title: str | None = None
) -> Figure:
    """Draw the alignment of all pairs of models as a heat map, ordered by modality and then by family.

    Parameters
    ----------
    best
        One row per model pair, of a single dataset, metric, k and n, with the columns dataset, metric, k, n, model_x,
        model_y, ``value`` and, optionally, q. A pair that is present in one order only is drawn in both cells. Cells
        with q > ``alpha`` get a small cross; a null q is ignored. Models with many ties (tied_x or tied_y is true) are
        named below.
    models
        The models to draw, in drawing order within their family: model, modality, family.
    value
        The column of ``best`` to draw: "score" or "calibrated".
    alpha
        The false discovery rate above which a cell is marked.
    title
        Title, followed by the metric, k and n; by default it names what is drawn and the data set.

    Raises
    ------
    ValueError
        If a column is missing, a table is empty, ``best`` mixes data sets, metrics, k or n, a model or a pair occurs
        twice, or no pair of ``models`` has a value.
    """
    settings = ("dataset", "metric", "k", "n")
    style.require_columns(best, (*settings, "model_x", "model_y", value), "best")
    style.require_one(best, settings, "best")
    style.require_columns(models, ("model", "modality", "family"), "models")
    style.require_unique(models, ("model",), "models")

    models = _grouped(models)
    values = square(best, models["model"].to_list(), value)
    has_value = np.isfinite(values).any(axis=1)
    if not has_value.any():
        raise ValueError(f"The best table has no {value} for any two of the {len(models)} models to draw.")
    values, kept = values[np.ix_(has_value, has_value)], models.filter(pl.Series(has_value))

    side, margins = _sizes(kept)
    fig = style.figure(margins[0] + side + margins[1], 0.7 + side + margins[0])
    ax = fig.subplots()
    image = _heat_map(ax, values, kept, side)
    unsure = "q" in best.columns and _cross_out(ax, square(best, kept["model"].to_list(), "q") > alpha, image, side)
    metric, k, n = best.select("metric", "k", "n").row(0)
    bar = fig.colorbar(image, ax=ax, shrink=0.6, aspect=22, pad=0.02)
    bar.set_label(TITLES.get(value, value).lower())
    bar.outline.set_visible(False)
    default_title = f"{TITLES.get(value, value)} at the best pair of layers, {best['dataset'][0]}"
    style.heading(fig, default_title if title is None else title, style.describe(metric, k, n))
    left_out = models.filter(pl.Series(~has_value))["model"].to_list()
    _explain(fig, alpha if unsure else None, _has_holes(values), left_out, tied_models(best))
    return fig


def _grouped(models: pl.DataFrame) -> pl.DataFrame:
    """Sort models so that modalities, and families within them, are contiguous; otherwise keep their order."""
    modalities = list(dict.fromkeys(models["modality"]))
    families = list(dict.fromkeys(zip(models["modality"], models["family"], strict=True)))
    keys = list(zip(models["modality"], models["family"], strict=True))
    return models[sorted(range(len(keys)), key=lambda i: (modalities.index(keys[i][0]), families.index(keys[i])))]


def _sizes(models: pl.DataFrame) -> tuple[float, tuple[float, float]]:
    """(side of the heat map, (margin for names on the left, for families and colour bar on the right)), in inches."""
    count = len(models)
    right = style.longest_width(models["family"], style.SMALL) + 1.25
    side = count * SMALLEST_CELL
    for _ in range(2):  # iterated, because the size of the names depends on that of the cells and vice versa
        left = style.longest_width(models["model"], style.label_size(count, side)) + 0.25
        side = max(count * SMALLEST_CELL, min(count * CELL, style.PAGE_WIDTH - left - right))
    return side, (left, right)


def _heat_map(ax: Axes, values: np.ndarray, models: pl.DataFrame, side: float) -> AxesImage:
    """The cells with their numbers, names and groups; ``side`` in inches."""
    count = len(models)
    image = ax.imshow(values, vmin=min(0.0, np.nanmin(values)), vmax=np.nanmax(values), cmap=style.value_map())
    ax.set_autoscale_on(False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, pad=2)
    size = style.label_size(count, side)
    ax.set_yticks(range(count), models["model"].to_list(), fontsize=size)
    ax.set_xticks(range(count), models["model"].to_list(), fontsize=size, rotation=90)
    for i in range(count):  # the diagonal says nothing: a model against itself
        ax.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, facecolor="white"))
    style.cell_numbers(ax, image, side / count)
    _group_families(ax, models, side / count)
    _group_modalities(ax, models["modality"].to_list(), side / count)
    return image


def _group_families(ax: Axes, models: pl.DataFrame, pitch: float) -> None:
    """Draw thin lines between families, and a bracket and a name for each on the right; crowded names are spread."""
    runs = _runs(list(zip(models["modality"], models["family"], strict=True)))
    for _, start, _ in runs[1:]:
        _separate(ax, start, min(0.5, 6 * pitch))
    edge = len(models) - 0.5 + BRACKET / pitch
    centres = [(start + stop - 1) / 2 for _, start, stop in runs]
    size = style.label_size(len(runs), len(models) * pitch)
    gap = 1.2 * size / 72 / pitch
    heights = style.spread(centres, gap, (gap - 1) / 2, len(models) - (gap + 1) / 2)
    for ((modality, family), start, stop), centre, height in zip(runs, centres, heights, strict=True):
        colour = colour_of(modality)
        _line(ax, [edge, edge], [start - 0.35, stop - 0.65], color=colour, linewidth=1.5)
        text_x = edge + BRACKET / pitch * 1.6
        _line(ax, [edge, text_x], [centre, height], color=colour, linewidth=0.5)
        ax.text(text_x + 0.03 / pitch, height, family, fontsize=size, va="center_baseline")


def _group_modalities(ax: Axes, modalities: Sequence[str], pitch: float) -> None:
    """Draw wide lines between modalities, and on top a bracket and a name for each."""
    runs = _runs(modalities)
    for _, start, _ in runs[1:]:
        _separate(ax, start, min(2.5, 12 * pitch))
    edge = -0.5 - BRACKET / pitch
    widest = style.longest_width(modalities, style.FONT_SIZE) / pitch
    centres = style.spread([(start + stop - 1) / 2 for _, start, stop in runs], widest)
    for (modality, start, stop), centre in zip(runs, centres, strict=True):
        colour = colour_of(modality)
        _line(ax, [start - 0.35, stop - 0.65], [edge, edge], color=colour, linewidth=2.5)
        ax.text(centre, edge - 0.05 / pitch, modality, color=colour, fontweight="bold", ha="center", va="bottom")


def _runs(keys: Sequence) -> list[tuple]:
    """(key, start, stop) of each run of equal consecutive keys."""
    runs, start = [], 0
    for key, members in groupby(keys):
        stop = start + len(list(members))
        runs.append((key, start, stop))
        start = stop
    return runs


def _separate(ax: Axes, start: int, width: float) -> None:
    """A white line of ``width`` points before row and column ``start``."""
    ax.axhline(start - 0.5, color="white", linewidth=width)
    ax.axvline(start - 0.5, color="white", linewidth=width)


def _line(ax: Axes, x: Sequence[float], y: Sequence[float], **look: object) -> None:
    ax.plot(x, y, clip_on=False, solid_capstyle="butt", **look)


def _cross_out(ax: Axes, unsure: np.ndarray, image: AxesImage, side: float) -> bool:
    """Draw a cross in each cell that is not significant, in its corner if it has a number; True if there is any."""
    pitch = side / len(unsure)
    rows, columns = np.nonzero(unsure)
    corner = 0.33 if ax.texts and pitch > 0.2 else 0.0
    inks = [style.readable_on(colour) for colour in image.to_rgba(image.get_array()[rows, columns])]
    ax.scatter(
        columns + corner,
        rows + corner,
        s=(min(4.0, 0.4 * pitch * 72)) ** 2,
        c=inks,
        marker="x",
        linewidths=0.5,
        alpha=0.8,
    )
    return len(rows) > 0


def _has_holes(values: np.ndarray) -> bool:
    return bool(np.isnan(values).sum() > len(values))


def _explain(fig: Figure, alpha: float | None, holes: bool, left_out: Sequence[str], tied: Sequence[str]) -> None:
    """Write the note below: the meaning of crosses and grey, the models not shown, and those with many ties."""
    parts = []
    if alpha is not None:
        parts.append(f"×: not significant (q > {alpha:g}).")
    if holes:
        parts.append("Grey: no score.")
    if left_out:
        parts.append(style.left_out(left_out, "no score with any other"))
    if tied:
        parts.append(style.tied(tied))
    if parts:
        style.note_below(fig, " ".join(parts))
