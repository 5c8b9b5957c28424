"""Samples and texts of a downloaded hub data set, in any format that the `datasets` library reads."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prh.datasets import parquet_files, samples
from prh.datasets.errors import DataError
from prh.datasets.local_data import subset as subset_of
from prh.datasets.samples import Sample, SampleColumns
from prh.io import files, text_files

if TYPE_CHECKING:
    import datasets

    from prh.experiment.schema import HubDataset


def read_source(entry: HubDataset, fetched: Mapping, columns: SampleColumns, chosen: Mapping) -> Iterator[Sample]:
    """`read_hub` in the form of `prh.downloads.sources.Source.read`, for what `hub_data.fetch_source` returned."""
    return read_hub(Path(fetched["root"]), entry.split, entry.subset, columns, chosen, fetched["split"])


def read_hub(
    root: Path,
    split: str,
    subset: str | None,
    columns: SampleColumns,
    chosen: Mapping[str, int | None] | None = None,
    only: Sequence[str] | None = None,
) -> Iterator[Sample]:
    """Samples of a downloaded hub data set, in its order.

    ``only``: the files of the split, if they are known; otherwise the `datasets` library finds them in ``root``. One
    sample is in memory at a time and nothing is copied to disk, so for a random subset (see `read_local`) the source is
    read twice, once to count it. Raises DataError if the split or a column is not there, or a file cannot be read.
    """
    where = f"{root}, split {split}"
    with _named(root, where, only):
        data = _streamed(root, split, subset, only)
        features = data.features or {}  # unknown for JSON and CSV until a row has been read
        available = list(features) or list(next(iter(data), {}))
    samples.require_columns(columns, available, where)
    roots = columns.roots(available)
    _require_bounded(root, roots, only)
    names = {column: _class_names(features, column) for column in columns.classes()}
    data = data.select_columns(roots)
    if features:  # rows of JSON and CSV are never decoded
        data = data.decode(False)
    keep = None
    with _named(root, where, only):
        if chosen and chosen.get("samples") is not None and chosen.get("shuffle_seed") is not None:
            keep = set(subset_of(range(sum(1 for _ in data)), **chosen))
        read = _reader(root)
        for i, row in enumerate(data):
            if keep is None or i in keep:
                yield samples.sample_of(row, i, columns, read, f"{where}, row {i}", names)


def _class_names(features: Mapping, column: str) -> list[str] | None:
    """The names of the classes in a column, or in a field of its structs; None if it holds no ClassLabel."""
    first, _, rest = (column, "", "") if column in features else column.partition(".")
    feature = features.get(first)
    while rest and hasattr(feature, "feature"):  # the elements of a list
        feature = feature.feature
    if rest:
        return _class_names(feature, rest) if isinstance(feature, Mapping) else None
    return getattr(feature, "names", None)


def hub_documents(
    root: Path, split: str, subset: str | None, column: str, only: Sequence[str] | None = None
) -> Iterator[str]:
    """The texts in one column of a downloaded hub data set, in its order, without empty ones.

    Raises DataError if the split or column is not there, or a file cannot be read.
    """
    where = f"{root}, split {split}"
    _require_bounded(root, [column], only)
    with _named(root, where, only):
        for i, row in enumerate(_streamed(root, split, subset, only)):
            if samples.root_of(column, row) not in row:
                raise DataError(f"{where}: no column '{column}'; there are {', '.join(row)}.")
            yield from filter(str.strip, samples.captions_of(row, column, f"{where}, row {i}"))


def _streamed(root: Path, split: str, subset: str | None, only: Sequence[str] | None) -> datasets.IterableDataset:
    import datasets

    part = {} if only is None else {"data_files": {split: list(only)}}
    try:
        return datasets.load_dataset(str(root), subset, split=split, streaming=True, **part)
    except (ValueError, FileNotFoundError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        culprit = _damaged(root, only) or f"{reason}. Correct 'files', 'split' or 'subset'."
        raise DataError(f"{root}, split {split}: {culprit}") from None


def _reader(root: Path) -> samples.Read:
    """What reads the files that rows name, also those inside zip archives (zip://a.jpg::photos.zip)."""
    read_plain = samples.reader(root)
    home = Path(root).resolve()

    def read(name: str) -> tuple[bytes | None, str | None]:
        inner, _, archive = name.rpartition("::")
        if not inner.startswith("zip://") or not Path(archive).resolve().is_relative_to(home):
            return read_plain(name)
        with zipfile.ZipFile(archive) as content:
            return content.read(inner.removeprefix("zip://")), None

    return read


# ---- what can go wrong ----------------------------------------------------------------------------------------


@contextmanager
def _named(root: Path, where: str, only: Sequence[str] | None) -> Iterator[None]:
    """Turn any error of the `datasets` library while it reads into a DataError that names the file at fault."""
    try:
        yield
    except (DataError, text_files.TextError):
        raise
    except Exception as error:  # from the libraries of some twenty formats
        culprit = _damaged(root, only)
        if culprit is not None:
            raise DataError(f"{where}: {culprit}") from error
        reason = " ".join(str(error).split()).rstrip(".") or "no reason given"
        names = [path.name for path in _files(root, only)]
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise DataError(f"{where}: {listed} cannot be read: {type(error).__name__}: {reason}.") from error


def _files(root: Path, only: Sequence[str] | None) -> list[Path]:
    return sorted(files.walk(root)) if only is None else [root / name for name in only]


def _require_bounded(root: Path, columns: Sequence[str], only: Sequence[str] | None) -> None:
    """Raise DataError if a Parquet file unpacks to suspiciously much (`prh.io.unpacking`), which `datasets` ignores."""
    for path in _files(root, only):
        if path.suffix == ".parquet":
            parquet_files.require_bounded(path, columns)


def _damaged(root: Path, only: Sequence[str] | None) -> str | None:
    """A sentence that says which file of a data set is damaged and how; None if every file is intact."""
    for path in _files(root, only):
        check = _CHECKS.get(path.suffix)
        try:
            if not path.exists():
                return f"{path} is not there; delete its source.json and run again to fetch it."
            if check is not None:
                check(path)
        except (DataError, text_files.TextError) as error:
            return str(error)
        except Exception as error:
            return f"{path} is damaged ({type(error).__name__}: {' '.join(str(error).split())})."
    return None


def _check_parquet(path: Path) -> None:
    for _ in parquet_files.rows(path, parquet_files.column_names(path)):
        pass


def _check_json(path: Path) -> None:
    for number, line in enumerate(text_files.lines(path), start=1):
        try:
            if line.strip():
                json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error}).") from None


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise DataError(f"{path}: its file {name} is damaged.")


def _check_tar(path: Path) -> None:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and (content := archive.extractfile(member)) is not None:
                while content.read(2**20):
                    pass


_CHECKS: dict[str, Callable[[Path], object]] = {
    ".parquet": _check_parquet,
    ".jsonl": _check_json,
    ".csv": text_files.read,
    ".tsv": text_files.read,
    ".txt": text_files.read,
    ".zip": _check_zip,
    ".tar": _check_tar,
}
