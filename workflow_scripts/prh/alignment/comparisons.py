"""Comparisons of one model with others, as tables: a row of the alignment matrix, also in growing galleries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from prh.core.alignment import PairAlignment, compare
from prh.core.metrics import METRICS, Representation
from prh.core.preparation import Precision
from prh.core.sweeps import in_gallery
from prh.core.ties import BOUND
from prh.io import tables
from prh.jobs.about import about

if TYPE_CHECKING:
    from pydantic import BaseModel

Compared = TypeVar("Compared")

BEST = {
    "model_x": pl.String,
    "model_y": pl.String,
    "k": pl.Int32,
    "n": pl.Int32,
    "score": pl.Float64,
    "layer_x": pl.Int16,
    "layer_y": pl.Int16,
    "threshold": pl.Float64,
    "p": pl.Float64,
    "calibrated": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "chosen_low": pl.Float64,  # of the interval that knows of the choice of the layers
    "chosen_high": pl.Float64,
    "crossfitted": pl.Float64,
    "optimism": pl.Float64,
    "null_mean": pl.Float64,
    "chance": pl.Float64,  # expected of models that have nothing in common; null where it is not known
    "ties_x": pl.Float64,
    "ties_y": pl.Float64,
    "tied_x": pl.Boolean,  # whether ties exceed prh.core.ties.BOUND
    "tied_y": pl.Boolean,
    "left_out_x": pl.List(pl.Int16),  # layers that are the same for all samples
    "left_out_y": pl.List(pl.Int16),
}


@dataclass(frozen=True)
class Settings:
    """How models are compared; the meaning of each is in prh.experiment.schema.Alignment."""

    k: tuple[int, ...]
    permutations: int
    subsamples: int
    splits: int
    alpha: float
    seed: int

    @classmethod
    def of(cls, section: BaseModel) -> Settings:
        """Those of the section ``alignment`` of an experiment."""
        return cls(**section.model_dump(include={field.name for field in fields(cls)}))


def row(
    x: Representation,
    others: Iterable[Representation],
    metric: str,
    settings: Settings,
    groups: np.ndarray | None = None,
) -> tuple[pa.Table, pl.DataFrame]:
    """Compare ``x`` with each of ``others`` (both ways round for a metric that is not symmetric).

    The result for two models does not depend on which of them the row is of (`compare_in_order`).

    Returns the scores of all layer pairs (schema tables.ALIGNMENT) and the best ones (schema BEST).
    """
    traits = METRICS[metric]
    scores, best = [tables.ALIGNMENT.empty_table()], []
    for other in others:
        for left, right in _directions(metric, x, other):
            for k in settings.k if traits.needs_k else (None,):
                with about(f"models {left.name!r} and {right.name!r}"):
                    alignment = compare_in_order(
                        left,
                        right,
                        metric,
                        k,
                        permutations=settings.permutations,
                        groups=groups,
                        alpha=settings.alpha,
                        subsamples=settings.subsamples,
                        splits=settings.splits,
                        seed=settings.seed,
                    )
                scores.append(_score_table(left.name, right.name, alignment))
                best.append(_best_row(left.name, right.name, alignment))
    return pa.concat_tables(scores), pl.DataFrame(best, schema=BEST, orient="row")


class SweptModel(NamedTuple):
    """A model of a sweep: its name and its prepared layers, floating [N, d], or kernels [N, N] (None: left out)."""

    name: str
    layers: Sequence[np.ndarray | None]
    has_kernels: bool = False


def sweep_row(
    x: SweptModel,
    others: Iterable[SweptModel],
    metric: str,
    sizes: Sequence[int],
    settings: Settings,
    groups: np.ndarray | None = None,
    *,
    device: str = "cpu",
    memory_gb: float = 2.0,
    precision: Precision = "float32",
) -> pl.DataFrame:
    """Best layer pairs (schema BEST) of a model with others in growing galleries: see prh.core.sweeps.

    The queries, as many as the smallest gallery, are the same for all models and sizes. With ``groups`` [N], a gallery
    takes whole groups, except that its size may cut off the last one. There are no intervals and no cross-fits: a sweep
    is read as a curve. As in `row`, two models are compared both ways round for a metric that is not symmetric.
    """
    queries, depth = min(sizes), max(settings.k)
    count = next((len(layer) for layer in x.layers if layer is not None), 0)
    if not count:
        raise ValueError(f"{x.name}: every layer is the same for all samples; leave the model out.")
    order = _sweep_order(count, settings.seed, groups)
    if max(sizes) > len(order):
        raise ValueError(f"alignment.n asks for {max(sizes)} samples, but there are {len(order)}; lower it.")
    how = (device, memory_gb, precision)

    def swept(model: SweptModel) -> dict[int, Representation]:
        kernels = model.has_kernels
        return {
            size: in_gallery(model.name, model.layers, order[:size], queries, depth, *how, kernels=kernels)
            for size in sizes
        }

    first, best = swept(x), []
    for other in others:
        for left, right in _directions(metric, first, swept(other)):
            for size, k in product(sizes, settings.k):
                with about(f"models {left[size].name!r} and {right[size].name!r}, {size} samples"):
                    alignment = compare_in_order(
                        left[size],
                        right[size],
                        metric,
                        k,
                        permutations=settings.permutations,
                        groups=None if groups is None else groups[order[:size]],
                        alpha=settings.alpha,
                        seed=settings.seed,
                    )
                best.append(_best_row(left[size].name, right[size].name, alignment))
    return pl.DataFrame(best, schema=BEST, orient="row")


def _directions(metric: str, x: Compared, other: Compared) -> list[tuple[Compared, Compared]]:
    """A pair of models once for a symmetric metric, else both ways round."""
    return [(x, other)] if METRICS[metric].symmetric else [(x, other), (other, x)]


def compare_in_order(
    x: Representation, y: Representation, metric: str, k: int | None, **evidence: Any
) -> PairAlignment:
    """`compare`, for a symmetric metric always in the order of the names.

    Random draws, rounding and the choice among equal scores treat x and y differently. So the numbers are the same in
    the row of either model, and in any order of the models of an experiment.
    """
    if METRICS[metric].symmetric and y.name < x.name:
        return compare(y, x, metric, k, **evidence).swapped()
    return compare(x, y, metric, k, **evidence)


def _sweep_order(n: int, seed: int, groups: np.ndarray | None) -> np.ndarray:
    """A random order of n samples. With groups it is a random order of the groups, whatever their sizes: a gallery that
    ends there is permuted by whole groups, and samples of a query's group must be queries too.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    if groups is None:
        return order
    kinds, label = np.unique(groups[order], return_inverse=True)
    return order[np.argsort(rng.permutation(len(kinds))[label], kind="stable")]


def _score_table(model_x: str, model_y: str, alignment: PairAlignment) -> pa.Table:
    layer_x, layer_y = np.indices(alignment.scores.shape)
    count = alignment.scores.size
    columns = {
        "model_x": [model_x] * count,
        "layer_x": layer_x.ravel(),
        "model_y": [model_y] * count,
        "layer_y": layer_y.ravel(),
        "k": [alignment.k] * count,
        "n": [alignment.n] * count,
        "score": pa.array(alignment.scores.ravel(), from_pandas=True),  # null where a layer is left out
    }
    return pa.table(columns, schema=tables.ALIGNMENT)


def _best_row(model_x: str, model_y: str, alignment: PairAlignment) -> dict[str, object]:
    chance = METRICS[alignment.metric].chance
    (low, high), (ties_x, ties_y) = alignment.interval or (None, None), alignment.ties or (None, None)
    chosen_low, chosen_high = alignment.chosen_interval or (None, None)
    return {
        "model_x": model_x,
        "model_y": model_y,
        "k": alignment.k,
        "n": alignment.n,
        "score": alignment.best,
        "layer_x": alignment.layers[0],
        "layer_y": alignment.layers[1],
        "threshold": alignment.threshold,
        "p": alignment.p,
        "calibrated": alignment.calibrated,
        "low": low,
        "high": high,
        "chosen_low": chosen_low,
        "chosen_high": chosen_high,
        "crossfitted": alignment.crossfitted,
        "optimism": alignment.optimism,
        "null_mean": None if alignment.null is None else float(alignment.null.mean()),
        "chance": None if chance is None else chance(alignment.k, alignment.n),
        "ties_x": ties_x,
        "ties_y": ties_y,
        "tied_x": None if ties_x is None else ties_x > BOUND,
        "tied_y": None if ties_y is None else ties_y > BOUND,
        "left_out_x": list(alignment.left_out[0]),
        "left_out_y": list(alignment.left_out[1]),
    }


def left_out(best: pl.DataFrame) -> dict[str, list[int]]:
    """The numbers of the layers that are the same for all samples, by model, from ``best`` (schema BEST)."""
    rows = _by_model(best, "left_out").filter(pl.col("left_out").list.len() > 0)
    return {model: sorted(layers) for model, layers in rows.explode("left_out").unique().group_by("model").agg(
        "left_out").sort("model").iter_rows()}  # fmt: skip


def remarks(best: pl.DataFrame) -> Iterator[str]:
    """A sentence for each model with layers that were left out, and for each whose neighbours are mostly ties."""
    for model, layers in left_out(best).items():
        yield f"{model}: left out, as it is the same for all samples: layer {', '.join(map(str, layers))}"
    tied = _by_model(best, "tied", "ties").filter("tied").group_by("model").agg(pl.col("ties").max()).sort("model")
    for model, share in tied.iter_rows():
        yield f"{model}: the last neighbour of up to {share:.0%} of the samples is one of several equally near ones"


def _by_model(best: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The rows of ``best`` twice: once for each model of the pair, with its ``columns``."""
    return pl.concat(
        best.select(model=f"model_{side}", **{column: f"{column}_{side}" for column in columns}) for side in ("x", "y")
    )
