"""Figures of the idealised world: events as images and words, and the true kernel next to learnt ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from prh.figures import style
from prh.io import tables
from prh.world.idealised import IdealisedWorld
from prh.world.written import events_of

PANELS_IN_ROW = 4


@style.applied()
def draw_events(rows: Mapping[str, Sequence[tuple[np.ndarray, str]]], *, title: str = "") -> Figure:
    """Draw events as images with captions, one row per entry of ``rows``.

    Parameters
    ----------
    rows
        Maps the heading of each row to its events: (image uint8 [side, side, 3], caption). All rows have one length.
    title
        Title of the figure.

    Raises
    ------
    ValueError
        If there are no rows, or they differ in length.
    """
    lengths = {len(events) for events in rows.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"rows of events have lengths {sorted(lengths)}; pass at least one row, all of the same length."
        )
    count = lengths.pop()
    side = style.PAGE_WIDTH / count
    fig = style.figure(style.PAGE_WIDTH, len(rows) * (side + 0.45) + 0.3 * bool(title))
    if title:
        style.heading(fig, title)
    for part, (heading, events) in zip(np.atleast_1d(fig.subfigures(len(rows), 1)), rows.items(), strict=True):
        part.suptitle(heading, x=0.01, ha="left", fontsize=style.FONT_SIZE)
        for ax, (image, caption) in zip(np.atleast_1d(part.subplots(1, count)), events, strict=True):
            ax.imshow(image)
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(caption)
    return fig


def neighbourhood(world: IdealisedWorld, event: int, count: int) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Rows for :func:`draw_events`: a walk from ``event``, and the ``count`` events with the highest and lowest PMI."""
    walk = next(walk for walk in world.walks(20 * world.size, count, seed=0) if walk[0] == event)
    by_pmi = np.argsort(-world.pmi[event], kind="stable")
    name, pixels = world.names[event], world.pixels()
    rows = {
        "A walk as images and words; an event can occur more than once": walk,
        f'"{name}" and the events with which it has the highest PMI: similar discs, all else random': by_pmi[:count],
        f'The events with which "{name}" has the lowest PMI': by_pmi[::-1][:count],
    }
    return {heading: [(pixels[i], world.names[i]) for i in events] for heading, events in rows.items()}


def learnt_kernel(features: Path) -> np.ndarray:
    """Cosines of the centred features of the last layer of a model, in the order of the events: float64 [M, M]."""
    table = tables.read(features)
    layer = tables.layer_array(table, tables.layer_columns(table.schema)[-1]).astype(np.float64)
    layer = layer[np.argsort(events_of(table["sample_id"].to_pylist()))] - layer.mean(axis=0)
    layer /= np.linalg.norm(layer, axis=1, keepdims=True)
    return layer @ layer.T


@style.applied()
def draw_kernels(pmi: np.ndarray, learnt: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draw the true kernel and learnt ones as matrices, and below each learnt one its values against the true ones.

    Parameters
    ----------
    pmi
        Pointwise mutual information of events, [M, M]; events are sorted so that those with a large PMI are adjacent.
    learnt
        Maps the names of up to three models to their kernels [M, M] of the same events, such as cosines of features.
    title
        Title of the figure.

    Raises
    ------
    ValueError
        If a kernel is not [M, M] or not finite, or there are none or too many.
    """
    if not 0 < len(learnt) < PANELS_IN_ROW:
        raise ValueError(
            f"{len(learnt)} learnt kernels do not fit next to the true one; pass 1 to {PANELS_IN_ROW - 1}."
        )
    for name, kernel in {"PMI": pmi, **learnt}.items():
        if kernel.shape != (len(pmi), len(pmi)) or not np.isfinite(kernel).all():
            raise ValueError(f"the kernel {name} must be {len(pmi)} x {len(pmi)} finite numbers, like the PMI.")
    order = _order(pmi)
    pairs = np.triu_indices(len(pmi), 1)
    count = len(learnt) + 1
    fig = style.figure(style.PAGE_WIDTH, 2 * style.PAGE_WIDTH / count + 0.5)
    if title:
        style.heading(fig, title)
    axes = fig.subplots(2, count)
    for column, (name, kernel) in enumerate({"PMI (the truth)": pmi, **learnt}.items()):
        shown = kernel[np.ix_(order, order)]
        # colours only distinguish similar events; others hardly ever co-occur, so their values are not learnt
        low, high = np.quantile(kernel[pairs], [0.8, 0.998])
        axes[0, column].imshow(shown, vmin=low, vmax=high, cmap=style.VALUE_MAP, interpolation="antialiased")
        axes[0, column].set(xticks=[], yticks=[], title=name)
        if column == 0:
            axes[0, 0].set(xlabel="event", ylabel="event")
            axes[1, 0].set_axis_off()
            continue
        ax = axes[1, column]
        ax.hexbin(pmi[pairs], kernel[pairs], gridsize=40, bins="log", cmap="Greys", linewidths=0.1)
        ax.set(xlabel="PMI (nats)", ylabel="learnt kernel" if column == 1 else "")
    return fig


def _order(pmi: np.ndarray) -> np.ndarray:
    """An order of events in which those with a large PMI are close to each other: int [M]."""
    distances = squareform(pmi.max() - (pmi + pmi.T) / 2, checks=False)
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))
