"""The table of scores: one row per model and task, measured here or published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from prh.io import text_files

SCORES = pa.schema(
    [
        ("model", pa.string()),
        ("task", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("stderr", pa.float64()),
        ("n", pa.int64()),
        ("source", pa.string()),  # "measured", or the publication the number is from
        ("shots", pa.int64()),  # few-shot examples; null where a task has none
        ("version", pa.string()),  # of the task's definition; null where it has none
        ("altered", pa.float64()),  # share of a scored text that the tokenizer loses; null for other tasks
    ]
)

MEASURED = "measured"


def scores_table(rows: pl.DataFrame) -> pa.Table:
    """Measured scores in the schema SCORES; columns that ``rows`` lacks are null."""
    columns = pl.from_arrow(SCORES.empty_table()).schema
    present = [
        pl.col(name).cast(dtype) if name in rows.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in columns.items()
    ]
    return rows.select(present).to_arrow().cast(SCORES)


class Scored(NamedTuple):
    """Scores of a model (schema `SCORES`), and what the footer of their table says of how they were made."""

    table: pa.Table
    facts: dict[str, Any]


def measured(rows: pl.DataFrame, **facts: Any) -> Scored:
    """Scores that were measured here, from the columns of `SCORES` that ``rows`` has."""
    return Scored(scores_table(rows.with_columns(source=pl.lit(MEASURED))), facts)


def not_scored(reason: str) -> Scored:
    """No scores, and why."""
    return Scored(SCORES.empty_table(), {"not_scored": reason})


def published_scores(path: str | Path) -> pl.DataFrame:
    """The scores in a CSV of published results, in the schema SCORES (n and altered are null).

    Columns of the file: model, task, metric, value (a share, 0 to 1), stderr, shots, version, and source: where the
    number is printed. Raises ValueError for a file that is not CSV, other columns, a value outside 0 to 1, a row
    without a source, and a (model, task, metric, source) that occurs twice.
    """
    types = pl.from_arrow(SCORES.empty_table()).schema
    columns = [name for name in types if name not in ("n", "altered")]
    content = text_files.read(Path(path)).encode()
    try:
        scores = pl.read_csv(content, schema_overrides={name: types[name] for name in columns})
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} is not CSV that can be read: {str(error).splitlines()[0]}.") from None
    if sorted(scores.columns) != sorted(columns):
        raise ValueError(f"{path} must have the columns {', '.join(columns)}; it has {', '.join(scores.columns)}.")
    for column, good in (("value", pl.col("value").is_between(0, 1)), ("source", pl.col("source").is_not_null())):
        bad = scores.with_row_index("line", offset=2).filter(~good.fill_null(False))
        if bad.height:
            raise ValueError(f"{path}, line {bad['line'][0]}: the {column} {bad[column][0]} is not usable.")
    twice = scores.filter(pl.struct("model", "task", "metric", "source").is_duplicated())
    if twice.height:
        raise ValueError(f"{path} gives {twice['model'][0]} on {twice['task'][0]} twice from one source; keep one row.")
    return scores.with_columns(n=pl.lit(None, pl.Int64), altered=pl.lit(None, pl.Float64)).select(types.names())


def published_for(models: Mapping[str, str], published: pl.DataFrame) -> pl.DataFrame:
    """The published scores of an experiment's models, under their names in the experiment.

    ``models`` maps each name to the model's id on the hub (or to the name itself); rows may use either.
    """
    keys = {(key, name) for name, id_ in models.items() for key in (name, id_)}
    known = pl.DataFrame(sorted(keys), schema={"model": pl.String, "name": pl.String}, orient="row")
    named = published.join(known, on="model", maintain_order="left_right").with_columns(model=pl.col("name"))
    return named.select(published.columns)
