"""Parquet files of others: their rows, a few at a time, in bounded memory; whatever is wrong names the file."""

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
"""Rows that are held at once, fewer where so many of mean size take more than these bytes (256 MiB)."""

ROW, VALUE = 64, 16
"""Bytes that each row and each value count for besides its content: millions of nulls or empty texts take no room in a
file, and some in memory."""


@contextmanager
def opened(path: Path, **options: object) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read from; DataError for what is wrong with it, when it is opened or later in the block."""
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
    """How many rows a file has."""
    with opened(path) as source:
        return source.metadata.num_rows


def column_names(path: Path) -> list[str]:
    """The columns of a file."""
    with opened(path) as source:
        return source.schema_arrow.names


def class_names(path: Path, columns: Sequence[str]) -> dict[str, list[str]]:
    """The names of the classes of those of ``columns`` that the `datasets` library has written as ClassLabel.

    A column such as ``objects.category`` is a field of structs, be they in a list.
    """
    with opened(path) as source:
        metadata = (source.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(metadata)["info"]["features"]
        found = {column: _feature_at(features, column) for column in columns}
        return {
            column: list(map(str, feature["names"]))
            for column, feature in found.items()
            if feature is not None and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError):  # another's metadata, or none
        return {}


def _feature_at(features: Mapping, column: str) -> Mapping | None:
    """What the `datasets` library wrote of a column, or of a field in its structs; None where there is none."""
    if column in features:
        return features[column]
    first, _, rest = column.partition(".")
    inner = features.get(first)
    while isinstance(inner, Mapping) and "feature" in inner:  # of lists
        inner = inner["feature"]
    return _feature_at(inner, rest) if rest and isinstance(inner, Mapping) else None


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, object]]:
    """The rows of a file, of each the values of ``columns``, one after the other.

    DataError for a damaged file and for one that unpacks to too much, see `require_bounded`.
    """
    unpacked = require_bounded(path, columns)
    with opened(path) as source:
        size = max(1, min(ROWS, ROW_BYTES * source.metadata.num_rows // max(1, unpacked)))
        for batch in source.iter_batches(batch_size=size, columns=list(columns)):
            yield from batch.to_pylist()


def require_bounded(path: Path, columns: Sequence[str]) -> int:
    """The bytes that ``columns`` unpack to; DataError where they are out of proportion to the file
    (`prh.io.unpacking`).

    Compression is told by the footer. Values that stand in a dictionary and are repeated are counted by reading the
    numbers that stand for them, so that no more than the dictionary is ever held.
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
        f"{path} is not read: {unpacking.refusal(packed, unpacked)}; if you trust it, write it anew without "
        "compression and dictionaries."
    )


def _repeated(path: Path, leaf: str, packed: int) -> int:
    """Bytes of the values in a leaf, each counted as often as it occurs; 0 where they stand in no dictionary."""
    total = 0
    with opened(path, read_dictionary=[leaf]) as source:
        try:
            for batch in source.iter_batches(batch_size=256, columns=[leaf]):
                total += sum(_size(column) for column in batch.columns)
                if unpacking.is_bomb(packed, total):
                    raise _bomb(path, packed, total)
        except pa.ArrowNotImplementedError:
            return 0  # too many or too large for a dictionary: they stand in the file themselves
    return total


def _size(array: pa.Array) -> int:
    """Bytes of the texts or binaries in an array, each counted as often as it occurs."""
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
