"""Rows of the alignment matrix as their readers want them: with the pairs of the experiment, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from prh.io.tables import TableError


def with_models(rows: Mapping[str, pl.DataFrame], model: str, earlier: Sequence[str]) -> pl.DataFrame:
    """The pairs of ``model`` with each of ``earlier``, the last of these first; ``model`` is x.

    They are in its own row, or in that of the other model: a row stays as it is when models are removed from the
    experiment, moved in it or inserted. It can also hold more.

    Parameters
    ----------
    rows : mapping
        The rows of ``model`` and of the models before it. Columns model_x and model_y (one of them is the model that
        the row is of), layer_x and layer_y, k, n, and any others, such as ties_x and ties_y.
    model : str
        A model.
    earlier : sequence of str
        The models before it in the experiment, in its order.

    Raises
    ------
    TableError
        Neither row holds one of the pairs.

    Examples
    --------
    >>> columns = ["model_x", "layer_x", "model_y", "layer_y", "k", "n", "score"]
    >>> pairs = {"a": [("a", 0, "c", 1, 10, 64, 0.3)], "c": [("c", 2, "b", 3, 10, 64, 0.1)]}
    >>> rows = {model: pl.DataFrame(row, columns, orient="row") for model, row in pairs.items()}
    >>> with_models(rows, "c", ["a", "b"]).rows()
    [('c', 2, 'b', 3, 10, 64, 0.1), ('c', 1, 'a', 0, 10, 64, 0.3)]
    """
    row = rows[model]
    elsewhere = set(earlier).difference(row.select(_other(model))["other"])
    parts = [row, *(_of_other_row(rows[name], name, model) for name in earlier if name in elsewhere)]
    order = pl.DataFrame({"other": pl.Series(earlier, dtype=pl.String)}).with_row_index("order")
    pairs = pl.concat(parts).with_columns(_other(model)).join(order, on="other", how="inner", maintain_order="left")
    return pairs.sort("order", descending=True, maintain_order=True).drop("other", "order")


def _other(model: str) -> pl.Expr:
    return pl.when(pl.col("model_x") == model).then("model_y").otherwise("model_x").alias("other")


def _of_other_row(row: pl.DataFrame, owner: str, model: str) -> pl.DataFrame:
    """The pair of ``owner`` and ``model`` from the row of ``owner``, as the row of ``model`` would hold it."""
    pair = row.filter(_other(owner).eq(model))
    if pair.is_empty():
        raise TableError(
            f"the row of model {model!r} has no comparison with {owner!r}; delete it and run snakemake again to "
            "recreate it."
        )
    is_first = pl.col("model_x") == model
    if pair.select(is_first.any()).item():  # a metric that is not symmetric: the row holds both directions
        return pair.sort(is_first, descending=True, maintain_order=True)
    swapped = pair.rename({f"{name}_{side}": f"{name}_{'yx'['xy'.index(side)]}" for name, side in _sides(pair)})
    in_order = swapped.sort(pl.struct("k", "n").rle_id(), "layer_x", "layer_y", maintain_order=True)
    return in_order.select(pair.columns)


def _sides(pairs: pl.DataFrame) -> list[tuple[str, str]]:
    """(name, "x" or "y") of each column that belongs to one side of a pair."""
    return [(name[:-2], name[-1]) for name in pairs.columns if name.endswith(("_x", "_y"))]
