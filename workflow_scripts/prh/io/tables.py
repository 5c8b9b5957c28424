"""The Parquet tables through which the stages communicate: schemas, atomic writing, checked reading.

A table is either complete or absent, because it is written under a temporary name and renamed. Its footer (key ``prh``)
records how it was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prh.io import versions
from prh.io.files import writing

if TYPE_CHECKING:
    import polars as pl

FOOTER_KEY, CHECK_KEY = b"prh", b"prh.sha256"
"""Footer keys: how the table was made, as JSON, and the hash of that, since Parquet has checksums for pages only."""
FACTS = {
    "dataset": "data set",
    "samples": "samples of digest",
    "spec": "settings of digest",
    "digest": "contents of digest",
}
"""Names of footer facts in messages."""
LAYER_PREFIX, KERNEL_PREFIX = "layer_", "kernel_"
"""Columns of features and neighbours; columns of kernels, which a features table holds instead if these are given."""

SHARD = pa.schema(
    [
        ("sample_id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("captions", pa.list_(pa.string())),
        ("labels", pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))),
        ("group_id", pa.string()),
    ]
)

ALIGNMENT = pa.schema(
    [
        ("model_x", pa.string()),
        ("layer_x", pa.int16()),
        ("model_y", pa.string()),
        ("layer_y", pa.int16()),
        ("k", pa.int32()),
        ("n", pa.int32()),
        ("score", pa.float64()),
    ]
)


class TableError(ValueError):
    """A table is missing, truncated or not what its reader needs; the message names the file and the remedy."""


def layer_name(index: int, prefix: str = LAYER_PREFIX) -> str:
    """Name of the column of a layer: ``layer_07`` for 7."""
    return f"{prefix}{index:02d}"


def layer_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of a features or neighbours table that hold layers or kernels, in order of depth."""
    return [name for name in schema.names if name.startswith((LAYER_PREFIX, KERNEL_PREFIX))]


def holds_kernels(schema: pa.Schema) -> bool:
    """Whether the columns of a features table are kernels."""
    return any(name.startswith(KERNEL_PREFIX) for name in schema.names)


def layers_table(
    sample_ids: Sequence[str],
    layers: Sequence[np.ndarray],
    numbers: Sequence[int] | None = None,
    prefix: str = LAYER_PREFIX,
) -> pa.Table:
    """A table with one column (layer_00, layer_01, ...) per array of ``layers``, [n, width_i] of any numeric dtype.

    ``numbers``: the layer numbers of the arrays, if they are not 0, 1, ... ``prefix``: how the columns are called.
    """
    columns = {"sample_id": pa.array(sample_ids, pa.string())}
    for i, layer in zip(range(len(layers)) if numbers is None else numbers, layers, strict=True):
        flat = pa.array(np.ascontiguousarray(layer).reshape(-1))
        columns[layer_name(i, prefix)] = pa.FixedSizeListArray.from_arrays(flat, layer.shape[1])
    return pa.table(columns)


def layer_array(table: pa.Table, name: str) -> np.ndarray:
    """The layer column ``name`` as an array [n, width] of the dtype of the column, not copied if it is one chunk."""
    width = table.schema.field(name).type.list_size
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an empty table has no chunks to combine
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)


def provenance(**facts: object) -> dict[str, object]:
    """Content of a footer: the versions of prh and of the libraries that influence numbers, and the given facts."""
    return {"prh": versions.of("prh"), "libraries": versions.libraries(), **facts}


@contextmanager
def writer(path: str | Path, schema: pa.Schema, made_by: Mapping[str, object]) -> Iterator[pq.ParquetWriter]:
    """A ParquetWriter whose file appears at ``path`` only when it is complete.

    Float columns are stored with BYTE_STREAM_SPLIT and zstd, which halves the size of features and is fast.
    """
    footer = json.dumps(made_by, sort_keys=True, default=str).encode()
    schema = schema.with_metadata({FOOTER_KEY: footer, CHECK_KEY: hashlib.sha256(footer).hexdigest().encode()})
    floats = [_leaf(field) for field in schema if _is_floating(field.type)]
    others = [field.name for field in schema if not _is_floating(field.type)]
    with (
        writing(path) as part,
        pq.ParquetWriter(
            part,
            schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in others if not name.startswith((LAYER_PREFIX, KERNEL_PREFIX))],
            use_byte_stream_split=floats or False,
            write_page_checksum=True,
        ) as sink,
    ):
        yield sink


def write(table: pa.Table, path: str | Path, made_by: Mapping[str, object]) -> None:
    """Write ``table`` to ``path`` in one piece, with ``made_by`` in its footer."""
    with writer(path, table.schema, made_by) as sink:
        sink.write_table(table)


def _is_floating(dtype: pa.DataType) -> bool:
    return pa.types.is_floating(dtype.value_type if pa.types.is_fixed_size_list(dtype) else dtype)


def _leaf(field: pa.Field) -> str:
    """The Parquet column path of a field; the values of a list are one level down."""
    return f"{field.name}.list.element" if pa.types.is_fixed_size_list(field.type) else field.name


@contextmanager
def open_table(path: str | Path) -> Iterator[pq.ParquetFile]:
    """Open a table for reading. Raises TableError, naming it, if it is missing or truncated."""
    path = Path(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as source:
            yield source
    except FileNotFoundError:
        raise TableError(f"{path} does not exist; run snakemake to make it.") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TableError(f"{path} is not a complete Parquet file ({reason}); delete it and run again.") from error


def read(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or only some ``columns``. Raises TableError for a missing or damaged file or a missing column."""
    with open_table(path) as source:
        missing = [name for name in columns or [] if name not in source.schema_arrow.names]
        if missing:
            raise TableError(
                f"{path} has no column {', '.join(missing)}; it has {', '.join(source.schema_arrow.names)}."
            )
        return source.read(columns=list(columns) if columns is not None else None)


def rows(path: str | Path) -> int:
    """Number of rows of a table."""
    with open_table(path) as source:
        return source.metadata.num_rows


def made_by(path: str | Path) -> dict:
    """The footer of a table, which records how it was made; {} if it has none. Raises TableError if it is damaged."""
    with open_table(path) as source:
        metadata = source.schema_arrow.metadata or {}
    text, check = metadata.get(FOOTER_KEY, b"{}"), metadata.get(CHECK_KEY)
    try:
        footer = json.loads(text)
    except (ValueError, RecursionError):
        footer = None
    if not isinstance(footer, dict) or check not in (None, hashlib.sha256(text).hexdigest().encode()):
        raise TableError(f"{path} has a damaged footer; delete the file and run again.")
    return footer


def digest_of_samples(samples: Sequence[str]) -> str:
    """Digest, 16 hexadecimal digits, of the sample_ids of a table in their order."""
    return hashlib.sha256(json.dumps(list(samples)).encode()).hexdigest()[:16]


def require(path: str | Path, **wanted: object) -> dict:
    """The footer of a table, after checking that it is the table that its reader needs.

    ``wanted`` are the required facts of the footer: ``model``, ``dataset``, ``metric``, ``samples``
    (`digest_of_samples`), ``spec`` (the digest of the settings that made it) and so on; None is not checked. Raises
    TableError, naming the file, if a fact is missing or different.
    """
    footer = made_by(path)
    for fact, value in wanted.items():
        if value is None or footer.get(fact) == value:
            continue
        label = FACTS.get(fact, fact)
        actual = f"{label} {footer[fact]!r}" if footer.get(fact) is not None else f"no {label}"
        raise TableError(
            f"{path} was made for {actual}, not {label} {value!r}: it is a different table under this "
            "name; delete it and run snakemake again to recreate it and everything made from it."
        )
    return footer


def require_each(
    paths: Sequence[str | Path], models: Sequence[str], specs: Sequence[str] = (), **wanted: object
) -> list[dict]:
    """The footers of the tables of several models, each checked by `require`; ``specs`` is empty or one per path."""
    expected = zip(paths, models, specs or [None] * len(paths), strict=True)
    return [require(path, model=model, spec=spec, **wanted) for path, model, spec in expected]


def require_same_samples(left: Sequence[str], right: Sequence[str], names: tuple[str, str]) -> None:
    """Raise TableError unless both tables (called ``names`` in the message) hold the same samples in the same order."""
    if list(left) == list(right):
        return
    only = sorted(set(left) ^ set(right))
    difference = f"{len(only)} samples are in only one, such as {only[0]!r}" if only else "the order differs"
    raise TableError(
        f"{names[0]} and {names[1]} do not hold the same samples: {difference}. "
        "They must come from the same shards: delete the older one and run again."
    )


def selected(table: pl.DataFrame, where: Mapping[str, object]) -> pl.DataFrame:
    """The rows that have the values of ``where`` (None: null); columns that the table lacks are ignored."""
    import polars as pl  # half of the import time of small jobs, and early stages do not need it

    for column in set(where) & set(table.columns):
        value = where[column]
        table = table.filter(pl.col(column).is_null() if value is None else pl.col(column) == value)
    return table
