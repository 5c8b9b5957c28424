"""Pictures of the idealised world: events as image and words, and the true kernel beside those that models learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from prh.figures import style
from prh.io import tables
from prh.world.idealised import World
from prh.world.written import events_of

PANELS_IN_ROW = 4


@style.applied()
def draw_events(rows: Mapping[str, Sequence[tuple[np.ndarray, str]]], *, title: str = "") -> Figure:
    """Draw events as image and caption, one row of them for each entry of ``rows``.

    Parameters
    ----------
    rows
        For each heading the events in order: image, uint8 [side, side, 3], and caption. All rows have one length.
    title
        Above the figure.

    Raises
    ------
    ValueError
        There is no row, or rows differ in length.
    """
    lengths = {len(events) for events in rows.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"rows of events have lengths {sorted(lengths)}; give at least one row, all of one length.")
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


def neighbourhood(world: World, event: int, count: int) -> dict[str, list[tuple[np.ndarray, str]]]:
    """Rows for :func:`draw_events`: a walk from ``event``, and the ``count`` events that go with it best and least."""
    walk = next(walk for walk in world.walks(20 * world.size, count, seed=0) if walk[0] == event)
    by_pmi = np.argsort(-world.pmi[event], kind="stable")
    name, pixels = world.names[event], world.pixels()
    rows = {
        "A walk, as it is seen and told: an event may come twice, its image and its word with it": walk,
        f'"{name}" and the events that go with it best: discs of like place and size, all else at random': by_pmi[
            :count
        ],
        f'The events that go with "{name}" least': by_pmi[::-1][:count],
    }
    return {heading: [(pixels[i], world.names[i]) for i in events] for heading, events in rows.items()}


def learnt_kernel(features: Path) -> np.ndarray:
    """Cosines of the centred features of a model's last layer, float64 [M, M], with the events in their order."""
    table = tables.read(features)
    layer = tables.layer_array(table, tables.layer_columns(table.schema)[-1]).astype(np.float64)
    layer = layer[np.argsort(events_of(table["sample_id"].to_pylist()))] - layer.mean(axis=0)
    layer /= np.linalg.norm(layer, axis=1, keepdims=True)
    return layer @ layer.T


@style.applied()
def draw_kernels(pmi: np.ndarray, learnt: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Draw the true kernel and learnt ones as matrices, and under each learnt one its values against the truth.

    Parameters
    ----------
    pmi
        [M, M], the pointwise mutual information of events; they are drawn in an order that puts large PMI side by side.
    learnt
        Name of a model -> its kernel [M, M] over the same events, such as cosines of features. At most three.
    title
        Above the figure.

    Raises
    ------
    ValueError
        A kernel is not [M, M] or not finite, or there are none or too many.
    """
    if not 0 < len(learnt) < PANELS_IN_ROW:
        raise ValueError(f"{len(learnt)} learnt kernels do not fit beside the true one; give 1 to {PANELS_IN_ROW - 1}.")
    for name, kernel in {"PMI": pmi, **learnt}.items():
        if kernel.shape != (len(pmi), len(pmi)) or not np.isfinite(kernel).all():
            raise ValueError(f"the kernel {name} must be {len(pmi)} x {len(pmi)} finite numbers, as the PMI.")
    order = _order(pmi)
    pairs = np.triu_indices(len(pmi), 1)
    count = len(learnt) + 1
    fig = style.figure(style.PAGE_WIDTH, 2 * style.PAGE_WIDTH / count + 0.5)
    if title:
        style.heading(fig, title)
    axes = fig.subplots(2, count)
    for column, (name, kernel) in enumerate({"PMI (the truth)": pmi, **learnt}.items()):
        shown = kernel[np.ix_(order, order)]
        low, high = np.quantile(
            kernel[pairs], [0.8, 0.998]
        )  # colour for what is alike: the rest nobody has seen together
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
    """Events in an order in which those with a large PMI stand near each other."""
    distances = squareform(pmi.max() - (pmi + pmi.T) / 2, checks=False)
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))
