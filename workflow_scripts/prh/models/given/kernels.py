"""Kernels that users bring: similarities or dissimilarities of samples, a matrix per layer, region or subject."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prh.models.given import Part
from prh.models.given.arrays import Arrays, GivenError, Rows, opened
from prh.models.given.features import ROWS, require_floating
from prh.models.given.joining import positions

if TYPE_CHECKING:
    from prh.experiment.schema import KernelModel


def read(entry: KernelModel, path: Path, samples: Sequence[str], dataset: str) -> Iterator[Part]:
    """The similarities of ``samples``, the ids of a data set, a part at a time, in their order: float32 [m, n] each.

    Dissimilarities become similarities by `prh.core.kernel_inputs.similarities`. Raises GivenError, naming the file,
    for arrays that are no square matrices of floating numbers, and rows that cannot be joined (`positions`); ValueError
    for a matrix that is no kernel (`prh.core.kernel_inputs`).
    """
    from prh.core.kernel_inputs import as_kernel, similarities

    with _opened(path) as source:
        names, kernels = [], []
        for array in source.arrays:
            where = f"{source.path}, {array.name}"
            require_floating(array, where)
            for name, matrix in _matrices(array, where):
                rows = positions(source, len(matrix), samples, order=entry.order, dataset=dataset)
                matrix = matrix[np.ix_(rows, rows)]
                matrix = similarities(matrix, name=where) if entry.kind == "dissimilarity" else matrix
                names.append(name)
                kernels.append(as_kernel(matrix, where).numpy())
    for first in range(0, len(samples), ROWS):
        yield Part(names, [kernel[first : first + ROWS].astype(np.float32) for kernel in kernels], is_kernel=True)


def _matrices(array: Rows, where: str) -> Iterator[tuple[str, np.ndarray]]:
    values = array.read(np.arange(array.shape[0])) if array.shape else np.zeros(())
    stack = values if values.ndim == 3 else values[None]
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2]:
        hint = "; unfold it with scipy.spatial.distance.squareform" if values.ndim == 1 else ""
        raise GivenError(f"{where} has shape {list(array.shape)}; a kernel is [samples, samples]{hint}.")
    for number, matrix in enumerate(stack):
        yield (array.name if values.ndim == 2 else f"{array.name}_{number}"), matrix


@contextmanager
def _opened(path: Path) -> Iterator[Arrays]:
    """As `opened`, and besides .csv and the RDMs of rsatoolbox (.h5)."""
    if path.suffix.lower() == ".csv":
        yield _of_csv(path)
        return
    with opened(path) as source:
        dissimilarities = next((array for array in source.arrays if array.name == "dissimilarities"), None)
        if dissimilarities is not None and len(dissimilarities.shape) == 2 and path.suffix.lower() in (".h5", ".hdf5"):
            yield _of_rsatoolbox(path, dissimilarities, source.ids)
        else:
            yield source


def _of_rsatoolbox(path: Path, vectors: Rows, ids: Sequence[str] | None) -> Arrays:
    """RDMs as `rsatoolbox.rdm.RDMs.save` writes them: [RDMs, pairs], and what each RDM is called."""
    import h5py
    from scipy.spatial.distance import squareform

    with h5py.File(path) as source:
        described = {name: item[()] for name, item in source.get("rdm_descriptors", {}).items() if name != "index"}
    texts = (values for values in described.values() if values.dtype.kind in "SO" and len(set(values)) == len(values))
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in next(texts, [])]
    rdms = vectors.read(np.arange(vectors.shape[0]))
    names = names or [f"rdm_{number}" for number in range(len(rdms))]
    if len(names) != len(rdms):
        raise GivenError(f"{path} has {len(names)} names for {len(rdms)} RDMs.")
    matrices = [squareform(rdm) for rdm in rdms]
    return Arrays(path, [_whole(name, matrix) for name, matrix in zip(names, matrices, strict=True)], ids)


def _of_csv(path: Path) -> Arrays:
    """A square table; a heading, and a first column of the same words, are the ids."""
    try:
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GivenError(f"{path} cannot be read ({error}).") from None
    ids = None
    if rows and not all(map(_is_number, rows[0])):
        ids = [cell.strip() for cell in rows.pop(0)]
        if rows and len(ids) == len(rows[0]) and len(ids) == len(rows) + 1:
            ids = ids[1:]  # the corner
        if rows and len(rows[0]) == len(rows) + 1:
            if [row[0].strip() for row in rows] != ids:
                raise GivenError(f"{path}: its first column and its heading do not name the same samples in one order.")
            rows = [row[1:] for row in rows]
    try:
        values = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise GivenError(f"{path} is no table of numbers ({error}).") from None
    return Arrays(path, [_whole(path.stem, values)], ids)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _whole(name: str, matrix: np.ndarray) -> Rows:
    return Rows(name, matrix.shape, str(matrix.dtype), lambda rows: matrix[rows])
