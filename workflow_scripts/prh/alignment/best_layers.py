"""The table of models, and the table of the best layer pair of every two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from prh.alignment.rows import with_models
from prh.core.calibration import benjamini_hochberg
from prh.io import tables
from prh.io.names import is_checkpoint
from prh.jobs.about import about

MODELS = {
    "model": pl.String,
    "modality": pl.String,
    "family": pl.String,
    "parameters": pl.Int64,
    "quantisation": pl.String,
    "step": pl.Int64,
    "layers": pl.Int32,
}


class Row(NamedTuple):
    """The best layer pairs of a model with those before it (schema `prh.alignment.comparisons.BEST`)."""

    dataset: str
    metric: str
    model: str
    best: pl.DataFrame


def table_of_models(
    entries: Sequence[Mapping[str, Any]], features: Iterable[tuple[Path, str | None]]
) -> tuple[pl.DataFrame, dict[str, str]]:
    """The table of models (schema `MODELS`), and the digest of the samples of each data set.

    Parameters
    ----------
    entries : sequence of mappings
        What the experiment says of each model. Its number of parameters goes before the counted one.
    features : iterable of (path, digest)
        The features tables ``{dataset}/{model}.parquet``, and the digests of the settings they must be made by (None:
        any).

    Raises
    ------
    TableError
        One is not the table that it should be (`prh.io.tables.require`).
    """
    facts, samples = {}, {}
    for path, spec in features:
        model, dataset = path.stem, path.parent.name
        with about(str(path)):
            footer = tables.require(path, model=model, dataset=dataset, samples=samples.get(dataset), spec=spec)
        samples.setdefault(dataset, footer.get("samples"))
        facts[model] = {"parameters": footer["parameters"], "layers": len(footer["layer_names"])}
    models = [{**facts.get(entry["model"], {}), **entry} for entry in entries]
    return pl.DataFrame(models, schema=MODELS), samples


def read_rows(
    rows: Iterable[tuple[Path, str | None]],
    samples: Mapping[str, str],
    modalities: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """The rows ``{dataset}/{metric}/{model}.best.parquet``, of the pairs with models before them.

    Parameters
    ----------
    rows : iterable of (path, digest)
        In the order of the experiment, checkpoints last, with the digests of the settings they must be made by (None:
        any).
    samples : mapping
        The digest of the samples of each data set.
    modalities : mapping
        The modality of each model: a checkpoint is compared with those of others.

    Raises
    ------
    TableError
        One is not the table that it should be, or a pair is in none.
    """
    grids, cut = defaultdict(dict), []
    for path, spec in rows:
        dataset, metric, model = path.parent.parent.name, path.parent.name, path.with_suffix("").stem
        grid = grids[dataset, metric]
        before = [*grid]
        with about(str(path)):
            tables.require(path, model=model, dataset=dataset, metric=metric, samples=samples.get(dataset), spec=spec)
            grid[model] = pl.from_arrow(tables.read(path))
            others = [name for name in before if not is_checkpoint(name)]
            if is_checkpoint(model):
                others = [name for name in others if modalities[name] != modalities[model]]
            best = with_models(grid, model, others)
        cut.append(Row(dataset, metric, model, best))
    return cut


def collect(rows: Sequence[Row], models: pl.DataFrame) -> pl.DataFrame:
    """The table of best layer pairs from the rows of all models.

    ``models`` has the columns of MODELS. Adds q, the Benjamini-Hochberg value over the grid of model pairs of each
    (dataset, metric, k, n); the pairs of checkpoints are a grid of their own, so that they change no other q.
    """
    parts = [
        row.best.with_columns(
            dataset=pl.lit(row.dataset), metric=pl.lit(row.metric), of_checkpoint=pl.lit(is_checkpoint(row.model))
        )
        for row in rows
    ]
    whole = pl.concat(parts).with_columns(q=pl.lit(None, pl.Float64))
    graded = [
        grid.with_columns(q=pl.Series(benjamini_hochberg(grid["p"].to_numpy())))
        if grid["p"].null_count() == 0
        else grid
        for _, grid in whole.group_by("dataset", "metric", "k", "n", "of_checkpoint", maintain_order=True)
    ]
    whole = (pl.concat(graded) if graded else whole).drop("of_checkpoint")
    for side in ("x", "y"):
        traits = models.select(
            pl.col("model").alias(f"model_{side}"),
            pl.col("modality").alias(f"modality_{side}"),
            pl.col("family").alias(f"family_{side}"),
            pl.col("quantisation").alias(f"quantisation_{side}"),
            pl.col("step").alias(f"step_{side}"),
        )
        whole = whole.join(traits, on=f"model_{side}", how="left", maintain_order="left")
    first = ["dataset", "metric", "k", "n", "model_x", "modality_x", "family_x", "model_y", "modality_y", "family_y"]
    return whole.select(*first, pl.exclude(first))
