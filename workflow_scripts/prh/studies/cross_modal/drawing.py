"""Alignment of each language model with the vision models as lines, one panel per vision family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from prh.core.ties import tied_models
from prh.figures import style
from prh.studies.pairs import across

PANELS_ACROSS = 3
NAMED_LINES = 6  # a panel with more models gives their number instead of their names


@style.applied()
def draw(
    best: pl.DataFrame,
    models: pl.DataFrame,
    *,
    x_modality: str = "language",
    y_modality: str = "vision",
    competence: str = "competence",
) -> Figure:
    """Draw the alignment of each model of ``x_modality`` with each of ``y_modality``, one panel per family of the
    latter.

    Thin lines are single models with their intervals, the wide line is the mean of the family. The dotted line is the
    chance level, if known; grey bars are the highest null threshold of the panel for each model on the x axis.

    Parameters
    ----------
    best
        One row per model pair, of a single dataset, metric, k and n, with the columns dataset, metric, k, n, model_x,
        modality_x, model_y, modality_y, score and, optionally, chance, threshold, low, high (null where not computed).
    models
        model, modality, family and, optionally, the column named by ``competence``. Models on the x axis are sorted by
        competence if it is known for all of them; otherwise they keep their order.
    x_modality, y_modality
        The modality on the x axis, and the one whose families get a panel each.
    competence
        The column of ``models`` that sorts the x axis, lowest first.

    Raises
    ------
    ValueError
        If a column is missing, a table is empty, ``best`` mixes data sets, metrics, k or n, holds a pair twice, or has
        no score between the two modalities.
    """
    settings = ("dataset", "metric", "k", "n")
    style.require_columns(best, (*settings, "model_x", "modality_x", "model_y", "modality_y", "score"), "best")
    style.require_one(best, settings, "best")
    style.require_columns(models, ("model", "modality", "family"), "models")
    style.require_unique(models, ("model",), "models")
    style.require_unique(best, ("model_x", "model_y"), "best")
    pairs = across(best, x_modality, y_modality).filter(pl.col("x").is_in(models["model"].implode()))
    names = [name for name in ordered(models, x_modality, competence) if name in set(pairs["x"])]
    lines = models.filter(pl.col("modality") == y_modality, pl.col("model").is_in(pairs["y"].implode()))
    if not names or lines.is_empty():
        raise ValueError(f"The best table has no score of a {x_modality} model with a {y_modality} model; draw others.")

    metric, k, n = best.select("metric", "k", "n").row(0)
    chance = pairs["chance"][0] if "chance" in pairs.columns else None
    families = list(dict.fromkeys(lines["family"]))
    members = {family: lines.filter(pl.col("family") == family)["model"].to_list() for family in families}
    fig, panels, width = _panels(members, names)
    for family, colour in style.colours(families).items():
        _draw_family(panels[family], pairs, names, members[family], colour)
        if chance is not None:
            panels[family].axhline(chance, color=style.NEUTRAL, linestyle=":", linewidth=1.0)
    _legends(panels, width)
    fig.supylabel("alignment", fontsize=style.FONT_SIZE)
    title = f"Alignment of {x_modality} models with each {y_modality} family, {best['dataset'][0]}"
    style.heading(fig, title, style.describe(metric, k, n))
    shown = {*names, *lines["model"]}
    unseen = models.filter(pl.col("modality").is_in([x_modality, y_modality]), ~pl.col("model").is_in(shown))
    has_threshold = "threshold" in pairs.columns and pairs["threshold"].count() > 0
    tied = [name for name in tied_models(best) if name in shown]
    _explain(fig, chance is not None, has_threshold, unseen["model"], tied)
    return fig


def ordered(models: pl.DataFrame, modality: str, competence: str) -> list[str]:
    """The models of a modality, sorted by the column ``competence`` if it has a value for each of them."""
    chosen = models.filter(pl.col("modality") == modality)
    if competence in chosen.columns and chosen[competence].is_not_null().all():
        chosen = chosen.sort(competence, maintain_order=True)
    return chosen["model"].to_list()


def _panels(members: dict[str, list[str]], names: Sequence[str]) -> tuple[Figure, dict[str, Axes], float]:
    """(figure, panel of each family, width of a panel); the lowest panel of each column names the x axis."""
    least = len(names) * style.SMALLEST / 72 / 0.75 + 0.3  # inches that a panel needs to name its x axis
    across = min(PANELS_ACROSS, len(members), max(1, int((style.PAGE_WIDTH - 0.6) / least)))
    down = math.ceil(len(members) / across)
    across = math.ceil(len(members) / down)
    width = max(0.75 * style.PAGE_WIDTH if across == 1 else style.PAGE_WIDTH, least + 0.6)
    entries = max(len(family) + 1 if len(family) <= NAMED_LINES else 1 for family in members.values())
    height = 0.6 + down * (1.6 + 0.12 * (entries + 1)) + style.longest_width(names, style.SMALL)
    fig = style.figure(width, height)
    grid = fig.subplots(down, across, sharey=True, squeeze=False).flatten()
    for ax in grid[len(members) :]:
        ax.remove()
    panel = (width - 0.6) / across - 0.1
    for i, ax in enumerate(grid[: len(members)]):
        if i + across < len(members):
            ax.set_xticks(range(len(names)), [])
        else:
            style.name_ticks(ax, names, panel / (len(names) + 0.5), hanging=i // across + 1 < down)
        ax.set_xlim(-0.6, len(names) - 0.4)
        ax.grid(axis="y")
    return fig, dict(zip(members, grid, strict=False)), panel


def _draw_family(ax: Axes, pairs: pl.DataFrame, names: Sequence[str], members: Sequence[str], colour: str) -> None:
    """Draw a line per member, their mean and the threshold; intervals only if there are few enough lines to name."""
    positions = np.arange(len(names))
    scores = np.array([along(pairs, names, member, "score") for member in members])
    if len(members) <= NAMED_LINES:
        _draw_members(ax, pairs, names, members, colour)
        mean_look = {"zorder": 1.5}  # below the points, so that it hides none
    else:
        ax.plot(positions, scores.T, color=colour, alpha=0.25, linewidth=0.5)
        mean_look = {"path_effects": [withStroke(linewidth=3.6, foreground="white")]}
    if len(members) > 1:
        mean = np.ma.masked_invalid(scores).mean(axis=0).filled(np.nan)
        ax.plot(positions, mean, color=colour, linewidth=2.2, marker=".", label=f"mean of {len(members)}", **mean_look)
    if "threshold" in pairs.columns:
        thresholds = np.array([along(pairs, names, member, "threshold") for member in members])
        highest = np.ma.masked_invalid(thresholds).max(axis=0).filled(np.nan)
        ax.hlines(highest, positions - 0.4, positions + 0.4, color=style.NEUTRAL, linewidth=0.9)


def _draw_members(ax: Axes, pairs: pl.DataFrame, names: Sequence[str], members: Sequence[str], colour: str) -> None:
    """Draw a line with its own marker and intervals for each member, shifted sideways so that they do not overlap."""
    shifts = np.linspace(-0.2, 0.2, len(members)) if len(members) > 1 else [0.0]
    for member, marker, shift in zip(members, style.MARKERS, shifts, strict=False):
        positions = np.arange(len(names)) + shift
        look = {
            "color": colour,
            "marker": marker,
            "linewidth": 0.6,
            "markersize": 3,
            "markeredgewidth": 0,
            "alpha": 0.8,
        }
        ax.plot(positions, along(pairs, names, member, "score"), label=member, **look)
        if {"low", "high"} <= set(pairs.columns):
            low, high = (along(pairs, names, member, side) for side in ("low", "high"))
            ax.vlines(positions, low, high, color=colour, alpha=0.5, linewidth=0.8)


def along(pairs: pl.DataFrame, names: Sequence[str], y: str, column: str) -> np.ndarray:
    """``column`` of the pairs of model ``y`` with each of ``names``: float64 [names], NaN without a pair."""
    values = dict(pairs.filter(pl.col("y") == y).select("x", column).iter_rows())
    return np.array([values.get(name) for name in names], dtype=float)


def _legends(panels: dict[str, Axes], width: float) -> None:
    """Write the family and models of each panel above it, all in a font size that fits ``width`` inches."""
    entries = {family: ax.get_legend_handles_labels() for family, ax in panels.items()}
    longest = max(style.longest_width(labels, style.SMALL) for _, labels in entries.values())
    for family, (handles, labels) in entries.items():
        panels[family].legend(
            handles,
            labels,
            title=family,
            fontsize=min(style.SMALL - 0.5, style.SMALL * (width - 0.3) / longest),
            title_fontproperties={"weight": "bold", "size": style.FONT_SIZE},
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            borderpad=0,
            borderaxespad=0.3,
            handlelength=1.6,
            labelspacing=0.25,
        )


def _explain(fig: Figure, has_chance: bool, has_threshold: bool, left_out: Iterable[str], tied: Sequence[str]) -> None:
    """Write the note below: the meaning of the grey lines, the models not shown, and those with many ties."""
    lines = ["dotted: chance"] if has_chance else []
    lines += ["bars: highest null threshold of the panel"] if has_threshold else []
    notes = [f"Grey, {'; '.join(lines)}."] if lines else []
    left_out = list(left_out)
    notes += [style.left_out(left_out, "no score across the two modalities")] if left_out else []
    notes += [style.tied(tied)] if tied else []
    style.note_below(fig, " ".join(notes))
