"""Alignment against k, from the nearest neighbours to all samples (Figure 10 of the paper, there with CKNNA)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from prh.core.ties import tied_models
from prh.figures import style
from prh.studies.pairs import across

WIDTH, HEIGHT = 0.75 * style.PAGE_WIDTH, 3.2  # inches


@style.applied()
def draw(
    best: pl.DataFrame,
    models: pl.DataFrame,
    *,
    standardised: bool = False,
    x_modality: str = "language",
    y_modality: str = "vision",
) -> Figure:
    """Draw how the alignment of the models of ``x_modality`` with those of ``y_modality`` (their mean) goes with k.

    Raw: score against k, one line per model. Standardised, as in the paper's Figure 10: one line per k over the models
    from the smallest to the largest, less the smallest model's score and divided by the standard deviation of the line;
    a k whose scores are all equal is left out.

    Parameters
    ----------
    best
        One row per model pair and k, of a single dataset, metric and n: dataset, metric, k, n, model_x, modality_x,
        model_y, modality_y, score and, optionally, chance. Pairs that lack a k are left out.
    models
        model, modality, parameters. The models stand by parameter count if each has one, else in the order given.
    standardised
        Which of the two to draw.
    x_modality, y_modality
        The modality whose models are compared, and the one whose models are averaged over.

    Raises
    ------
    ValueError
        A column is missing, a table is empty, ``best`` mixes data sets, metrics or n, holds a pair twice, or has no
        pair of these modalities with every k; and, standardised, no k at which two models differ.
    """
    settings = ("dataset", "metric", "n")
    style.require_columns(best, (*settings, "k", "model_x", "modality_x", "model_y", "modality_y", "score"), "best")
    style.require_one(best, settings, "best")
    style.require_columns(models, ("model", "modality", "parameters"), "models")
    style.require_unique(best, ("model_x", "model_y", "k"), "best")
    pairs = across(best, x_modality, y_modality)
    whole = style.complete_pairs(pairs, ("x", "y"), "k")
    names = [name for name in by_size(models, x_modality) if name in set(whole["x"])]
    if not names:
        raise ValueError(
            f"The best table has no pair of a {x_modality} and a {y_modality} model with every k; draw others."
        )
    ks, scores = mean_scores(whole, names)
    notes = []
    if len(whole) < len(pairs):
        broken = pairs.join(whole, on=["x", "y"], how="anti").select("x", "y").unique(maintain_order=True)
        notes.append(style.left_out([f"{x} × {y}" for x, y in broken.iter_rows()], "not scored at every k"))
    metric, n = best.select("metric", "n").row(0)
    if standardised:
        ks, scores, level = _standardised(ks, scores)
        notes += [style.left_out([f"k = {k:,}" for k in level], "all scores equal")] if level else []
        fig = _over_models(names, ks, scores)
        label = f"alignment above {names[0]}, in s.d."
    else:
        chance = known_chance(whole, ks)
        fig = _over_k(names, ks, scores, chance)
        label = "alignment"
    fig.axes[0].set_ylabel(label)
    title = f"Alignment of {x_modality} with {y_modality} as k grows, {best['dataset'][0]}"
    style.heading(fig, title, style.describe(metric, None, n))
    shown = {*names, *whole["y"]}
    notes.append(style.tied(name for name in tied_models(best) if name in shown))
    style.note_below(fig, " ".join(filter(None, notes)))
    return fig


def by_size(models: pl.DataFrame, modality: str) -> list[str]:
    """The models of a modality from the smallest to the largest, or as given if one has no parameter count."""
    chosen = models.filter(pl.col("modality") == modality)
    if chosen["parameters"].is_not_null().all():
        chosen = chosen.sort("parameters", maintain_order=True)
    return chosen["model"].to_list()


def mean_scores(pairs: pl.DataFrame, names: Sequence[str]) -> tuple[list[int], np.ndarray]:
    """The values of k, ascending, and the scores [names, ks]: for each of ``names`` the mean over its partners."""
    means = pairs.group_by("x", "k").agg(pl.col("score").mean())
    ks = sorted(means["k"].unique())
    scores = {(x, k): score for x, k, score in means.iter_rows()}
    return ks, np.array([[scores[name, k] for k in ks] for name in names])


def known_chance(pairs: pl.DataFrame, ks: Sequence[int]) -> list[float] | None:
    """The score of unrelated models at each k; None where it is not known."""
    if "chance" not in pairs.columns or pairs["chance"].null_count():
        return None
    chance = dict(pairs.select("k", "chance").iter_rows())
    return [chance[k] for k in ks]


def standardise(scores: np.ndarray) -> np.ndarray:
    """Each column of ``scores`` [models, ks] less its first model, over its standard deviation; NaN where that is 0."""
    deviation = scores.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, (scores - scores[0]) / deviation, np.nan)


def _standardised(ks: Sequence[int], scores: np.ndarray) -> tuple[list[int], np.ndarray, list[int]]:
    """The ks at which models differ, their standardised scores [models, ks], and the ks at which no two differ."""
    lines = standardise(scores)
    differ = np.isfinite(lines).all(axis=0)
    if not differ.any():
        raise ValueError("A standardised k sweep needs two models with different scores; draw it raw.")
    kept = [k for k, drawn in zip(ks, differ, strict=True) if drawn]
    return kept, lines[:, differ], [k for k in ks if k not in kept]


def _over_k(names: Sequence[str], ks: Sequence[int], scores: np.ndarray, chance: Sequence[float] | None) -> Figure:
    """A line over k for each model, darkest for the smallest, and one for chance where it is known."""
    fig = style.figure(WIDTH, HEIGHT)
    ax = fig.subplots()
    inks = _shades(names)
    ends = dict(zip(names, scores[:, -1], strict=True))
    for name, line in zip(names, scores, strict=True):
        ax.plot(ks, line, marker="o", color=inks[name])
    if chance is not None:
        ax.plot(ks, chance, color=style.NEUTRAL, linestyle=":")
        ends["chance"], inks["chance"] = chance[-1], style.NEUTRAL
    style.log_ticks(ax, ks, 0.6 * WIDTH)
    ax.set_xlabel("k")
    ax.grid(axis="y")
    style.label_lines(ax, ends, inks, ks[-1], 0.75 * HEIGHT)
    return fig


def _over_models(names: Sequence[str], ks: Sequence[int], scores: np.ndarray) -> Figure:
    """A line over the models for each k, darkest for the smallest."""
    labels = [f"k = {k:,}" for k in ks]
    inks = _shades(labels)
    fig = style.figure(WIDTH, HEIGHT + style.longest_width(names, style.SMALL))
    ax = fig.subplots()
    for label, line in zip(labels, scores.T, strict=True):
        ax.plot(range(len(names)), line, marker="o", color=inks[label])
    style.name_ticks(ax, names, 0.75 * WIDTH / len(names))
    ax.grid(axis="y")
    style.label_lines(ax, dict(zip(labels, scores[-1], strict=True)), inks, len(names) - 1, 0.75 * HEIGHT)
    return fig


def _shades(names: Sequence[str]) -> dict[str, np.ndarray]:
    """A colour for each of an ordered list, dark to light; the lightest end of the map would be lost on white."""
    return dict(zip(names, style.value_map()(np.linspace(0, 0.9, len(names))), strict=True))
