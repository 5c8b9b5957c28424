"""Rows of the alignment matrix as their readers want them: with the pairs of the experiment, each once."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from prh.io.tables import TableError


def with_models(row: pl.DataFrame, model: str, earlier: Sequence[str]) -> pl.DataFrame:
    """The pairs of a row that are ``model`` with one of ``earlier``, the last of these first.

    A row can hold more: it stays as it is when a model is removed from the experiment.

    Parameters
    ----------
    row : polars.DataFrame
        Columns model_x and model_y, one of which is ``model``, and any others.
    model : str
        The model that the row is of.
    earlier : sequence of str
        The models before it in the experiment, in its order.

    Raises
    ------
    TableError
        The row lacks one of them.

    Examples
    --------
    >>> row = pl.DataFrame({"model_x": ["c", "c", "c"], "model_y": ["a", "removed", "b"], "score": [0.1, 0.2, 0.3]})
    >>> with_models(row, "c", ["a", "b"])["score"].to_list()
    [0.3, 0.1]
    """
    other = pl.when(pl.col("model_x") == model).then("model_y").otherwise("model_x")
    order = pl.DataFrame({"other": pl.Series(earlier, dtype=pl.String)}).with_row_index("order")
    missing = set(earlier).difference(row.select(other.alias("other"))["other"])
    if missing:
        raise TableError(
            f"the row of model {model!r} has no comparison with {min(missing)!r}; delete it and run snakemake again to "
            "recreate it."
        )
    pairs = row.with_columns(other=other).join(order, on="other", how="inner", maintain_order="left")
    return pairs.sort("order", descending=True, maintain_order=True).drop("other", "order")
