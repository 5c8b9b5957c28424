"""What ``prh show`` and ``prh score`` print: which models agree most, how sure that is, on which layers."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from prh.bank.folder import Bank
from prh.bank.places import BankError
from prh.bank.words import aligned
from prh.io import tables
from prh.io.names import AT

BEST = "tables/alignment.parquet"
SETTING = ("dataset", "metric", "k", "n")
SHOWN = 10
"""Pairs shown of each setting, unless one model is asked for."""
NEEDED = (
    *("model_x", "model_y", *SETTING, "score", "threshold", "calibrated", "low", "high", "p", "q"),
    *("layer_x", "layer_y"),
)


def show(folder: str | Path, *, model: str | None = None, dataset: str | None = None, metric: str | None = None) -> str:
    """The best alignments of a results folder as text: a table for each data set, metric and k.

    Pairs are in order of their calibrated score, or of their score where nothing is calibrated: the first ten, or all
    pairs of ``model``. Raises BankError for a folder without results, and for a model, data set or metric that its
    tables do not have; TableError for a damaged table.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BankError(f"there is no folder {folder}; pass the results folder of an experiment.")
    path = folder / BEST
    if not path.is_file():
        raise BankError(f"{folder} has no table of alignments ({path}); run snakemake to make it.")
    best = pl.from_arrow(tables.read(path, NEEDED))
    if best.is_empty():
        return f"{folder} has no pair of models: an experiment compares two or more models that read one data set."
    models = sorted({*best["model_x"], *best["model_y"]})
    for name, wanted, known in (
        ("model", model, models),
        ("data set", dataset, best["dataset"].unique().sort().to_list()),
        ("metric", metric, best["metric"].unique().sort().to_list()),
    ):
        if wanted is not None and wanted not in known:
            raise BankError(f"{folder} has no {name} {wanted!r} in its table of alignments; it has {', '.join(known)}.")
    if model is None:  # one of its own checkpoints would be what agrees most with many a model
        best = best.filter(~pl.any_horizontal(pl.col("model_x", "model_y").str.contains(AT, literal=True)))
    else:
        best = _seen_from(best, model)
    best = tables.selected(best, {key: one for key, one in (("dataset", dataset), ("metric", metric)) if one})
    parts = [
        _part(*setting, pairs, model) for setting, pairs in best.group_by(*SETTING, maintain_order=True) if len(pairs)
    ]
    return "\n\n".join(parts) or f"{folder} has no alignment of that model, data set and metric."


def _seen_from(best: pl.DataFrame, model: str) -> pl.DataFrame:
    """The pairs of ``model``, with it on the left."""
    is_right = pl.col("model_y") == model
    return best.filter((pl.col("model_x") == model) | is_right).with_columns(
        pl.when(is_right).then(f"{name}_{other}").otherwise(f"{name}_{side}").alias(f"{name}_{side}")
        for name in ("model", "layer")
        for side, other in (("x", "y"), ("y", "x"))
    )


def _part(dataset: str, metric: str, k: int | None, n: int, pairs: pl.DataFrame, model: str | None) -> str:
    ranked = pairs.sort("calibrated", "score", descending=True, nulls_last=True, maintain_order=True)
    shown = ranked if model is not None else ranked.head(SHOWN)
    which = f"{'pair' if len(pairs) == 1 else 'pairs'} of {'models' if model is None else model}"
    title = f"{dataset}: {metric}{'' if k is None else f', k = {k}'}, {n:,} samples, {len(pairs):,} {which}"
    rows = [
        (
            *(row["model_x"], row["model_y"], row["score"], _interval(row["low"], row["high"])),
            *(row["threshold"], row["calibrated"], row["p"], row["q"], row["layer_x"], row["layer_y"]),
        )
        for row in shown.iter_rows(named=True)
    ]
    header = ("model", "with", "score", "interval", "threshold", "calibrated", "p", "q", "layer", "its layer")
    rest = len(ranked) - len(shown)
    more = f"\n... and {rest:,} more; --model NAME shows all pairs of one." if rest else ""
    return f"{title}\n{aligned(header, rows)}{more}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def scored(table: pl.DataFrame, bank: Bank, name: str) -> str:
    """The table of `prh.score` as text."""
    first = table.row(0, named=True)
    of_k = "" if first["k"] is None else f", k = {first['k']}"
    title = f"{name} on {bank.dataset} of {bank.location}: {first['metric']}{of_k}, {first['n']:,} samples"
    columns = ("model", "modality", "score", "threshold", "p", "calibrated", "layer", "model_layer")
    header = ("model", "modality", "score", "threshold", "p", "calibrated", "layer", "its layer")
    return f"{title}\n{aligned(header, table.select(columns).rows())}"
