"""Parquet files written by others: rows are read in bounded memory, and every error names the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prh.datasets.errors import DataError
from prh.io import text_files, unpacking

ROWS, ROW_BYTES = 64, 2**28
"""Rows that are held at once; fewer if that many rows of mean size take more than these bytes (256 MiB)."""

ROW, VALUE = 64, 16
"""Bytes that each row and value counts for besides its content, because millions of nulls or empty texts take no room
in a file but do in memory."""


@contextmanager
def opened(path: Path, **options: object) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Raises DataError if it cannot be read, when it is opened or later in the block."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, **options) as source:
            yield source
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        if path.is_file() and text_files.is_pointer(path):
            raise DataError(f"{path} is a pointer of git-lfs; fetch the file itself with `git lfs pull`.") from None
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        kind = "" if path.suffix == ".parquet" else "neither a .jsonl nor a .csv file, and "
        raise DataError(
            f"{path} is {kind}not a complete Parquet file, or not one that can be read ({reason})."
        ) from error


def count_rows(path: Path) -> int:
    """The number of rows in a file."""
    with opened(path) as source:
        return source.metadata.num_rows


def column_names(path: Path) -> list[str]:
    """The names of the columns in a file."""
    with opened(path) as source:
        return source.schema_arrow.names


def class_names(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """The names of the classes in those of ``columns`` that the `datasets` library wrote as ClassLabel.

    A column such as ``objects.category`` is a field of structs, which may be in a list.
    """
    with opened(path) as source:
        metadata = (source.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(metadata)["info"]["features"]
        by_column = {column: _feature_at(features, column) for column in columns}
        return {
            column: list(map(str, feature["names"]))
            for column, feature in by_column.items()
            if feature is not None and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError):  # no metadata of `datasets`
        return {}


def _feature_at(features: Mapping, column: str) -> Mapping | None:
    """What the `datasets` library wrote about a column or a field of its structs; None if there is nothing."""
    if column in features:
        return features[column]
    first, _, rest = column.partition(".")
    inner = features.get(first)
    while isinstance(inner, Mapping) and "feature" in inner:  # the elements of a list
        inner = inner["feature"]
    return _feature_at(inner, rest) if rest and isinstance(inner, Mapping) else None


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, object]]:
    """The rows of a file one by one, each a mapping of ``columns`` to values.

    Raises DataError if the file is damaged or unpacks to too much (`require_bounded`).
    """
    unpacked = require_bounded(path, columns)
    with opened(path) as source:
        size = max(1, min(ROWS, ROW_BYTES * source.metadata.num_rows // max(1, unpacked)))
        for batch in source.iter_batches(batch_size=size, columns=list(columns)):
            yield from batch.to_pylist()


def require_bounded(path: Path, columns: Sequence[str]) -> int:
    """The bytes that ``columns`` unpack to. Raises DataError if they are out of proportion to the size of the file.

    `prh.io.unpacking` says what that is. The footer of the file gives the sizes without compression. Values in a
    dictionary that occur repeatedly are counted by reading only their indices, so that no more than the dictionary is
    ever held.
    """
    packed = path.stat().st_size
    with opened(path) as source:
        leaves = _leaves(source, columns)
        chunks = list(_chunks(source, leaves))
        unpacked = sum(chunk.total_uncompressed_size + VALUE * chunk.num_values for chunk in chunks)
        unpacked += ROW * source.metadata.num_rows
        if unpacking.is_bomb(packed, unpacked):
            raise _bomb(path, packed, unpacked)
        worst: dict[str, int] = dict.fromkeys(leaves, 0)
        for chunk in chunks:
            if chunk.has_dictionary_page:
                worst[chunk.path_in_schema] += chunk.num_values * chunk.total_uncompressed_size
    repeated = [_repeated(path, leaf, packed) for leaf, most in worst.items() if unpacking.is_bomb(packed, most)]
    return max(unpacked, *repeated, 0)


def _bomb(path: Path, packed: int, unpacked: int) -> DataError:
    return DataError(
        f"{path} is not read: {unpacking.refusal(packed, unpacked)}; if you trust it, write it again without "
        "compression and dictionaries."
    )


def _repeated(path: Path, leaf: str, packed: int) -> int:
    """Bytes of the values in a leaf, counted as often as they occur; 0 if they are not in a dictionary."""
    total = 0
    with opened(path, read_dictionary=[leaf]) as source:
        try:
            for batch in source.iter_batches(batch_size=256, columns=[leaf]):
                total += sum(_size(column) for column in batch.columns)
                if unpacking.is_bomb(packed, total):
                    raise _bomb(path, packed, total)
        except pa.ArrowNotImplementedError:
            return 0  # not in a dictionary, so the sizes in the footer count
    return total


def _size(array: pa.Array) -> int:
    """Bytes of the texts or binaries in an array, counted as often as they occur."""
    if isinstance(array, pa.DictionaryArray):
        lengths = pc.fill_null(pc.binary_length(array.dictionary), 0)
        used = array.indices.drop_null()
        counts = np.bincount(used.to_numpy(zero_copy_only=False), minlength=len(lengths)) if len(used) else 0
        return int((counts * lengths.to_numpy(zero_copy_only=False)).sum()) if len(lengths) else 0
    if isinstance(array, pa.StructArray):
        return sum(map(_size, array.flatten()))
    if isinstance(array, (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray, pa.MapArray)):
        return _size(array.flatten())
    return array.nbytes


def _leaves(source: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """The paths of the primitive columns that make up ``columns``."""
    paths = [source.metadata.schema.column(i).path for i in range(source.metadata.num_columns)]
    return [path for path in paths if path in columns or any(path.startswith(f"{column}.") for column in columns)]


def _chunks(source: pq.ParquetFile, leaves: Sequence[str]) -> Iterator[pq.ColumnChunkMetaData]:
    for number in range(source.metadata.num_row_groups):
        group = source.metadata.row_group(number)
        for i in range(group.num_columns):
            if (chunk := group.column(i)).path_in_schema in leaves:
                yield chunk
