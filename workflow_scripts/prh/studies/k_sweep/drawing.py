"""Alignment against k, from the nearest neighbours to all samples (Figure 10 of the paper uses CKNNA)."""

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
    """Draw the alignment of the models of ``x_modality`` with those of ``y_modality`` (their mean) as a function of k.

    Raw: score against k, one line per model. Standardised, as in Figure 10 of the paper: one line per k over the models
    from the smallest to the largest, minus the score of the smallest model and divided by the standard deviation of the
    line; a k for which all scores are equal is left out.

    Parameters
    ----------
    best
        One row per model pair and k, of a single dataset, metric and n: dataset, metric, k, n, model_x, modality_x,
        model_y, modality_y, score and, optionally, chance. Pairs that lack a k are left out.
    models
        model, modality, parameters. Models are sorted by parameter count if it is known for all of them.
    standardised
        Whether to draw standardised rather than raw scores.
    x_modality, y_modality
        The modality whose models are compared, and the one whose models are averaged over.

    Raises
    ------
    ValueError
        If a column is missing, a table is empty, ``best`` mixes data sets, metrics or n, holds a pair twice, or has no
        pair of these modalities with every k; and, standardised, if the models do not differ at any k.
    """
    settings = ("dataset", "metric", "n")
    style.require_columns(best, (*settings, "k", "model_x", "modality_x", "model_y", "modality_y", "score"), "best")
    style.require_one(best, settings, "best")
    style.require_columns(models, ("model", "modality", "parameters"), "models")
    style.require_unique(best, ("model_x", "model_y", "k"), "best")
    pairs = across(best, x_modality, y_modality)
    complete = style.complete_pairs(pairs, ("x", "y"), "k")
    names = [name for name in by_size(models, x_modality) if name in set(complete["x"])]
    if not names:
        raise ValueError(
            f"The best table has no pair of a {x_modality} and a {y_modality} model with every k; draw others."
        )
    ks, scores = mean_scores(complete, names)
    notes = []
    if len(complete) < len(pairs):
        incomplete = pairs.join(complete, on=["x", "y"], how="anti").select("x", "y").unique(maintain_order=True)
        notes.append(style.left_out([f"{x} × {y}" for x, y in incomplete.iter_rows()], "not scored at every k"))
    metric, n = best.select("metric", "n").row(0)
    if standardised:
        ks, scores, constant = _standardised(ks, scores)
        notes += [style.left_out([f"k = {k:,}" for k in constant], "all scores equal")] if constant else []
        fig = _over_models(names, ks, scores)
        label = f"alignment above {names[0]}, in s.d."
    else:
        chance = known_chance(complete, ks)
        fig = _over_k(names, ks, scores, chance)
        label = "alignment"
    fig.axes[0].set_ylabel(label)
    title = f"Alignment of {x_modality} with {y_modality} as k grows, {best['dataset'][0]}"
    style.heading(fig, title, style.describe(metric, None, n))
    shown = {*names, *complete["y"]}
    notes.append(style.tied(name for name in tied_models(best) if name in shown))
    style.note_below(fig, " ".join(filter(None, notes)))
    return fig


def by_size(models: pl.DataFrame, modality: str) -> list[str]:
    """The models of a modality, sorted by parameter count if it is known for all of them."""
    chosen = models.filter(pl.col("modality") == modality)
    if chosen["parameters"].is_not_null().all():
        chosen = chosen.sort("parameters", maintain_order=True)
    return chosen["model"].to_list()


def mean_scores(pairs: pl.DataFrame, names: Sequence[str]) -> tuple[list[int], np.ndarray]:
    """(values of k, ascending; scores [names, ks], the mean over the partners of each of ``names``)."""
    means = pairs.group_by("x", "k").agg(pl.col("score").mean())
    ks = sorted(means["k"].unique())
    scores = {(x, k): score for x, k, score in means.iter_rows()}
    return ks, np.array([[scores[name, k] for k in ks] for name in names])


def known_chance(pairs: pl.DataFrame, ks: Sequence[int]) -> list[float] | None:
    """The expected score of unrelated models at each k; None if unknown."""
    if "chance" not in pairs.columns or pairs["chance"].null_count():
        return None
    chance = dict(pairs.select("k", "chance").iter_rows())
    return [chance[k] for k in ks]


def standardise(scores: np.ndarray) -> np.ndarray:
    """Each column of ``scores`` [models, ks] minus its first entry, over its standard deviation; NaN if that is 0."""
    deviation = scores.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 0, (scores - scores[0]) / deviation, np.nan)


def _standardised(ks: Sequence[int], scores: np.ndarray) -> tuple[list[int], np.ndarray, list[int]]:
    """(the ks at which models differ, their standardised scores [models, ks], the ks at which all scores are equal)."""
    lines = standardise(scores)
    differ = np.isfinite(lines).all(axis=0)
    if not differ.any():
        raise ValueError("A standardised k sweep needs two models with different scores; draw it raw.")
    kept = [k for k, drawn in zip(ks, differ, strict=True) if drawn]
    return kept, lines[:, differ], [k for k in ks if k not in kept]


def _over_k(names: Sequence[str], ks: Sequence[int], scores: np.ndarray, chance: Sequence[float] | None) -> Figure:
    """A line over k for each model, darkest for the smallest, and one for the chance level if known."""
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
    """A colour for each of ``names``, dark to light, without the lightest end of the colour map, invisible on white."""
    return dict(zip(names, style.value_map()(np.linspace(0, 0.9, len(names))), strict=True))
