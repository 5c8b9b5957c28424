"""Named arrays in the files that people keep features and kernels in, read a few rows at a time.

An array is an `Arrays.Rows`: it knows its shape and reads the rows that it is asked for. Formats that cannot be read in
pieces (the members of an .npz, the columns of a Parquet file) are first unpacked, a part at a time, into a temporary
folder, so that memory never holds a whole file.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

IDS = ("sample_id", "sample_ids")
"""What the array, column or key with the ids of the samples is called."""
ENDINGS = (".npy", ".npz", ".safetensors", ".parquet", ".h5", ".hdf5")


class GivenError(ValueError):
    """A file of features or kernels cannot be used; the message is one sentence that names it."""


@dataclass(frozen=True)
class Rows:
    """An array in a file: its name there, shape and dtype, and a function from row numbers, int [m], to those rows."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Arrays:
    """The arrays of a file or folder, and the ids of their rows (None: it has none)."""

    path: Path
    arrays: Sequence[Rows]
    ids: Sequence[str] | None = None


@contextmanager
def opened(path: str | Path) -> Iterator[Arrays]:
    """The arrays of a file, or of a folder of one file per layer.

    They are in the order of the file where it has one (.npz, .parquet), else in that of their names, with numbers as
    numbers: layer_2 comes before layer_10. Raises GivenError for a file that is missing, of another form, damaged, or
    without arrays.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            arrays, ids = _of_folder(path, stack) if path.is_dir() else _of_file(path, stack)
        except GivenError:
            raise
        except FileNotFoundError:
            raise GivenError(f"{path} does not exist.") from None
        except Exception as error:  # each library has errors of its own for a damaged file
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise GivenError(
                f"{path} cannot be read ({reason}); is it whole, and of the format of its ending?"
            ) from error
        if not arrays:
            raise GivenError(f"{path} holds no array of numbers.")
        yield Arrays(path, arrays, ids)


def _in_natural_order(arrays: list[Rows]) -> list[Rows]:
    return sorted(arrays, key=lambda array: natural(array.name))


def natural(name: str) -> list[tuple[int, str]]:
    """Key by which names sort as people count: layer_2 before layer_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


Found = tuple[list[Rows], "list[str] | None"]


def _of_file(path: Path, stack: ExitStack) -> Found:
    readers = {
        ".npy": _of_npy,
        ".npz": _of_npz,
        ".safetensors": _of_safetensors,
        ".parquet": _of_parquet,
        ".h5": _of_hdf5,
        ".hdf5": _of_hdf5,
    }
    if path.suffix.lower() not in readers:
        raise GivenError(f"{path} must be a folder or end in {', '.join(ENDINGS)}.")
    if not path.is_file():
        raise FileNotFoundError
    return readers[path.suffix.lower()](path, stack)


def _of_folder(path: Path, stack: ExitStack) -> Found:
    """One file per layer, called like its file; sample_ids.txt, if it is there, has an id on each line."""
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in ENDINGS]
    if not files:
        raise GivenError(f"{path} holds no file that ends in {', '.join(ENDINGS)}.")
    arrays, ids = [], None
    for file in files:
        inside, own_ids = _of_file(file, stack)
        if len(inside) != 1:
            raise GivenError(f"{file} holds {len(inside)} arrays; in a folder each file is one layer.")
        if ids is not None and own_ids is not None and own_ids != ids:
            raise GivenError(f"{file} has other sample ids, or another order of them, than the files before it.")
        ids = own_ids or ids
        arrays.append(Rows(file.stem, inside[0].shape, inside[0].dtype, inside[0].read))
    names = path / "sample_ids.txt"
    arrays = _in_natural_order(arrays)
    return arrays, names.read_text(encoding="utf-8-sig").splitlines() if names.is_file() else ids


# ---- formats --------------------------------------------------------------------------------------------------------


def _of_npy(path: Path, _stack: ExitStack) -> Found:
    return [_mapped(path.stem, path)], None


def _mapped(name: str, path: Path) -> Rows:
    return _sliced(name, np.load(path, mmap_mode="r", allow_pickle=False))


def _sliced(name: str, array: np.ndarray) -> Rows:
    return Rows(name, array.shape, str(array.dtype), lambda rows: np.asarray(array[rows]))


def _of_npz(path: Path, stack: ExitStack) -> Found:
    folder = Path(stack.enter_context(TemporaryDirectory()))
    arrays, ids = [], None
    with zipfile.ZipFile(path) as archive:
        for number, member in enumerate(archive.namelist()):
            file = folder / f"{number}.npy"
            with archive.open(member) as source, file.open("wb") as target:
                while piece := source.read(2**20):
                    target.write(piece)
            name = member.removesuffix(".npy")
            if name in IDS:
                ids = _texts(np.load(file, allow_pickle=False))
            else:
                arrays.append(_mapped(name, file))
    return arrays, ids


def _of_safetensors(path: Path, stack: ExitStack) -> Found:
    from safetensors import safe_open

    source = stack.enter_context(safe_open(path, framework="pt"))
    metadata = source.metadata() or {}
    ids = next((json.loads(metadata[key]) for key in IDS if key in metadata), None)
    arrays = [_of_slice(name, source.get_slice(name)) for name in source.keys()]  # noqa: SIM118  (it is no mapping)
    return _in_natural_order(arrays), ids


def _of_slice(name: str, tensor: Any) -> Rows:
    import torch

    def read(rows: np.ndarray) -> np.ndarray:
        first, last = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
        return tensor[first : last + 1][torch.as_tensor(rows - first)].float().numpy()

    dtype = tensor.get_dtype()
    kind = {"F": "float", "BF": "bfloat", "C": "complex"}.get(dtype.rstrip("0123456789"), "int")
    return Rows(name, tuple(tensor.get_shape()), kind + re.sub(r"\D", "", dtype), read)


def _of_parquet(path: Path, stack: ExitStack) -> Found:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(stack.enter_context(TemporaryDirectory()))
    with pq.ParquetFile(path) as source:
        schema, count = source.schema_arrow, source.metadata.num_rows
        column = next((name for name in IDS if name in schema.names), None)
        ids = _texts(source.read([column])[column].to_pylist()) if column else None
        values = [field for field in schema if field.name != column]
        lists = [field.name for field in values if pa.types.is_nested(field.type)]
        if not lists:  # a wide table: one layer, whose features are its columns
            text = next(
                (f.name for f in values if not (pa.types.is_floating(f.type) or pa.types.is_integer(f.type))), None
            )
            if text is not None:
                raise GivenError(f"{path}: column {text!r} is {schema.field(text).type}, no number; leave it out.")
        groups = {name: [name] for name in lists} or {path.stem: [field.name for field in values]}
        mapped = {name: _Mapped(folder / f"{number}.npy", count, path) for number, name in enumerate(groups)}
        for batch in source.iter_batches(batch_size=512, columns=[name for names in groups.values() for name in names]):
            for name, columns in groups.items():
                mapped[name].append(_matrix(batch.select(columns), f"{path}, column {name!r}"))
    return [_sliced(name, array.closed()) for name, array in mapped.items() if array.array is not None], ids


def _matrix(batch: Any, where: str) -> np.ndarray:
    """A list column, or several columns of numbers, of a few rows as a matrix."""
    if any(column.null_count for column in batch.columns):
        raise GivenError(f"{where} has empty cells; each sample must have its features.")
    if batch.num_columns > 1 or not hasattr(batch.column(0), "flatten") or not str(batch.column(0).type).count("list"):
        return np.column_stack([column.to_numpy(zero_copy_only=False) for column in batch.columns])
    flat = batch.column(0).flatten()
    if len(flat) % max(1, len(batch)) or len({len(row) for row in batch.column(0)}) > 1:
        raise GivenError(f"{where} has rows of different lengths; a layer has one width.")
    return flat.to_numpy(zero_copy_only=False).reshape(len(batch), -1)


class _Mapped:
    """An array of ``count`` rows that grows in a file."""

    def __init__(self, file: Path, count: int, source: Path) -> None:
        self.file, self.count, self.source, self.written, self.array = file, count, source, 0, None

    def append(self, part: np.ndarray) -> None:
        if self.array is None:
            shape = (self.count, *part.shape[1:])
            self.array = np.lib.format.open_memmap(self.file, mode="w+", dtype=part.dtype, shape=shape)
        if part.shape[1:] != self.array.shape[1:]:
            raise GivenError(f"{self.source} has rows of different lengths; a layer has one width.")
        self.array[self.written : self.written + len(part)] = part
        self.written += len(part)

    def closed(self) -> np.ndarray:
        self.array.flush()
        return self.array


def _of_hdf5(path: Path, stack: ExitStack) -> Found:
    """Every data set of numbers is an array; `sample_id`, wherever it lies, holds the ids."""
    import h5py

    source = stack.enter_context(h5py.File(path))
    arrays, ids = [], None

    def visit(name: str, item: object) -> None:
        nonlocal ids
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            return
        if name.split("/")[-1] in IDS:
            ids = _texts(item[()])
        else:
            arrays.append(Rows(name, item.shape, str(item.dtype), _hdf5_rows(item)))

    source.visititems(visit)
    return _in_natural_order(arrays), ids


def _hdf5_rows(item: Any) -> Callable[[np.ndarray], np.ndarray]:
    def read(rows: np.ndarray) -> np.ndarray:
        distinct, places = np.unique(rows, return_inverse=True)  # h5py wants increasing row numbers
        return item[distinct][places]

    return read


def _texts(values: Any) -> list[str]:
    """Ids as text, from bytes, text or whole numbers."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in list(np.asarray(values).tolist())]
