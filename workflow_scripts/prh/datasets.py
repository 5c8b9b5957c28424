"""Data sets: fetch them, check every sample, and cut them into Parquet shards.

A sample is an image (its original encoded bytes), any number of captions, or both. `shard` gives each a stable,
unique sample_id and reports every bad one by that id before anything is taken for whole.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from PIL import Image

from prh import files, tables
from prh.progress import Progress

if TYPE_CHECKING:
    import datasets

IMAGE_SUFFIXES = frozenset(Image.registered_extensions())


class DataError(ValueError):
    """The data are not what the entry promises; the message names the samples and the mend."""


@dataclass(frozen=True)
class Sample:
    """One sample as its source gives it; `image` is the encoded file, None where it is missing."""

    sample_id: str
    image: bytes | None
    path: str | None
    captions: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    group_id: str | None = None


@dataclass(frozen=True)
class Columns:
    """The columns of the source that hold image, captions, labels and group (None: the source has none)."""

    image: str | None = "image"
    captions: str | None = "text"
    labels: tuple[str, ...] = ()
    group: str | None = None


# ---- reading --------------------------------------------------------------------------------------------------


def read_local(root: Path, columns: Columns, chosen: Mapping[str, int | None] | None = None) -> Iterator[Sample]:
    """Samples of a folder or Parquet file, in a stable order.

    ``chosen`` may name {"samples": count, "shuffle_seed": seed}; with a seed a random subset is read, still in the
    order of the source. Forms, in this order: metadata.jsonl beside the images (column file_name), Parquet files,
    one folder of images per class. Raises DataError where the source has none of these forms or lacks a column.
    """
    chosen = chosen or {}
    if root.is_dir() and (root / "metadata.jsonl").is_file():
        rows = _metadata_rows(root / "metadata.jsonl")
        return (_metadata_sample(root, row, columns) for row in _subset(rows, **chosen))
    parquet = [root] if root.is_file() else sorted(root.rglob("*.parquet"))
    if parquet:
        count = sum(_parquet_rows(path) for path in parquet)
        keep = set(_subset(range(count), **chosen))
        rows = enumerate(_parquet_samples(parquet, columns))
        return (_parquet_sample(i, row, columns) for i, row in rows if i in keep)
    images = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if images:
        return (_classfolder_sample(root, path) for path in _subset(images, **chosen))
    raise DataError(f"{root} holds neither metadata.jsonl nor Parquet files nor images.")


def read_hub(
    root: Path,
    split: str,
    subset: str | None,
    columns: Columns,
    chosen: Mapping[str, int | None] | None = None,
    only: Sequence[str] | None = None,
) -> Iterator[Sample]:
    """Samples of a downloaded hub data set (any form that the `datasets` library reads), in its order.

    ``only``: the files of the split, where it takes more than the library's own look at ``root`` to tell.
    One sample is in memory at a time and nothing is copied to disk: for a random subset (see `read_local`) the source
    is read twice, once to count it. Raises DataError for a split or column that is not there.
    """
    import datasets

    data = _streamed(root, split, subset, only)
    features = data.features or {}  # unknown to the library before it has read a row of JSON or CSV
    there = list(features) or list(next(iter(data), {}))
    wanted = [columns.image, columns.captions, *columns.labels, columns.group]
    for column in filter(None, wanted):
        if column not in there:
            raise DataError(f"{root}, split {split}: no column '{column}'; there are {', '.join(there)}.")
    names = {column: getattr(features.get(column), "names", None) for column in columns.labels}
    data = data.select_columns([column for column in dict.fromkeys([*wanted, "sample_id", "id"]) if column in there])
    if columns.image in features:
        data = data.cast_column(columns.image, datasets.Image(decode=False))
    keep = None
    if chosen and chosen.get("samples") is not None and chosen.get("shuffle_seed") is not None:
        keep = set(_subset(range(sum(1 for _ in data)), **chosen))
    for i, row in enumerate(data):
        if keep is not None and i not in keep:
            continue
        for column in filter(names.get, names):
            row[column] = None if row[column] is None else names[column][row[column]]
        yield _parquet_sample(i, row, columns)


def hub_documents(
    root: Path, split: str, subset: str | None, column: str, only: Sequence[str] | None = None
) -> Iterator[str]:
    """The texts in one column of a downloaded hub data set, in its order; empty ones are left out."""
    for row in _streamed(root, split, subset, only):
        if column not in row:
            raise DataError(f"{root}, split {split}: no column '{column}'; there are {', '.join(row)}.")
        if row[column] and row[column].strip():
            yield row[column]


def _streamed(root: Path, split: str, subset: str | None, only: Sequence[str] | None) -> datasets.IterableDataset:
    import datasets

    part = {} if only is None else {"data_files": {split: list(only)}}
    try:
        return datasets.load_dataset(str(root), subset, split=split, streaming=True, **part)
    except (ValueError, FileNotFoundError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{root}, split {split}: {reason}. Mend 'files', 'split' or 'subset'.") from None


def _subset(rows: Iterable, samples: int | None = None, shuffle_seed: int | None = None) -> list:
    """``rows``, or a random subset of ``samples`` of them in their order.

    Without a seed nothing is left out here: `shard` stops by itself, and makes up for bad samples with later ones.
    """
    rows = list(rows)
    if shuffle_seed is None or samples is None or samples >= len(rows):
        return rows
    picked = np.random.default_rng(shuffle_seed).choice(len(rows), samples, replace=False)
    return [rows[i] for i in sorted(picked)]


def _metadata_rows(path: Path) -> list[dict]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error.msg}).") from None
        if "file_name" not in rows[-1]:
            raise DataError(f"{path}, line {number}: no file_name.")
    return rows


def _metadata_sample(root: Path, row: dict, columns: Columns) -> Sample:
    path = root / row["file_name"]
    return Sample(
        sample_id=row["file_name"],
        image=path.read_bytes() if columns.image and path.is_file() else None,
        path=row["file_name"],
        captions=_captions(row, columns, root),
        labels=_labels(row, columns),
        group_id=_text(row, columns.group),
    )


def _classfolder_sample(root: Path, path: Path) -> Sample:
    name = path.relative_to(root).as_posix()
    return Sample(sample_id=name, image=path.read_bytes(), path=name, captions=(), labels={"class": path.parent.name})


def _parquet_rows(path: Path) -> int:
    with tables.open_table(path) as source:
        return source.metadata.num_rows


def _parquet_samples(paths: list[Path], columns: Columns) -> Iterator[dict]:
    wanted = [columns.image, columns.captions, *columns.labels, columns.group, "sample_id", "id"]
    for path in paths:
        with tables.open_table(path) as source:
            if columns.image is not None and columns.image not in source.schema_arrow.names:
                known = ", ".join(sorted(source.schema_arrow.names))
                raise DataError(f"{path}: no column '{columns.image}' with images; it has {known}.")
            present = [name for name in dict.fromkeys(wanted) if name in source.schema_arrow.names]
            for batch in source.iter_batches(batch_size=64, columns=present):
                yield from batch.to_pylist()


def _parquet_sample(index: int, row: dict, columns: Columns) -> Sample:
    image = row.get(columns.image) if columns.image else None
    image = {"bytes": image, "path": None} if isinstance(image, bytes) else image or {"bytes": None, "path": None}
    content = image["bytes"]
    if content is None and image["path"] and Path(image["path"]).is_file():
        content = Path(image["path"]).read_bytes()
    told = [str(row[name]) for name in ("sample_id", "id") if row.get(name) not in (None, "")]
    return Sample(
        sample_id=told[0] if told else f"{index:08d}",
        image=content,
        path=image["path"],
        captions=_captions(row, columns, f"row {index}"),
        labels=_labels(row, columns),
        group_id=_text(row, columns.group),
    )


def _captions(row: dict, columns: Columns, where: object) -> tuple[str, ...]:
    if columns.captions is None:
        return ()
    if columns.captions not in row:
        raise DataError(f"{where}: no column '{columns.captions}' with captions; it has {', '.join(sorted(row))}.")
    value = row[columns.captions]
    return tuple(str(caption or "") for caption in ([value] if isinstance(value, str) or value is None else value))


def _labels(row: dict, columns: Columns) -> dict[str, str]:
    found = {column: _text(row, column) for column in columns.labels}
    return {column: label for column, label in found.items() if label is not None}


def _text(row: dict, column: str | None) -> str | None:
    if column is None:
        return None
    if column not in row:
        raise DataError(f"no column '{column}'; there are {', '.join(sorted(row))}.")
    return None if row[column] is None else str(row[column])


# ---- sharding -------------------------------------------------------------------------------------------------


def problem(sample: Sample, columns: Columns) -> str | None:
    """What is wrong with a sample, in a few words; None if nothing is. The image is decoded to its last pixel."""
    if columns.image is not None:
        if sample.image is None:
            return "image missing"
        try:
            with Image.open(io.BytesIO(sample.image)) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return f"image unreadable ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    if columns.captions is not None and not sample.captions:
        return "no caption"
    if any(not caption.strip() for caption in sample.captions):
        return "empty caption"
    return None


def shard(
    samples: Iterable[Sample],
    folder: Path,
    columns: Columns,
    *,
    count: int | None = None,
    shard_size: int = 512,
    on_error: str = "fail",
    workers: int | None = None,
    progress: bool = False,
    made_by: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Write ``samples`` as ``folder``/00000.parquet ... and return the manifest.

    Stops after ``count`` good samples. A bad sample (see `problem`) or a repeated sample_id raises DataError naming
    all bad ids found ("fail"), or is left out and counted in the manifest ("skip"). ``workers`` threads decode images
    (None: as many as Python thinks fit).
    """
    bad: list[dict[str, str]] = []
    good = _checked(samples, columns, bad, workers)
    shards = []
    with Progress("samples", count, "samples", shown=progress) as bar:
        for number, batch in enumerate(batches(islice(good, count), shard_size)):
            path = folder / f"{number:05d}.parquet"
            tables.write(_shard_table(batch), path, tables.provenance(**(made_by or {})))
            shards.append({"file": path.name, "samples": len(batch), "sha256": files.sha256(path)})
            bar.advance(len(batch))
    if bad and on_error == "fail":
        listed = "; ".join(f"{entry['sample_id']}: {entry['reason']}" for entry in bad[:10])
        more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
        raise DataError(f"{len(bad)} bad samples ({listed}{more}); mend them, or set on_error: skip to leave them out.")
    total = sum(entry["samples"] for entry in shards)
    if total == 0:
        raise DataError("the source holds no good sample.")
    if count is not None and total < count and on_error == "fail":
        raise DataError(f"{count} samples are asked for, the source has {total}; lower 'samples'.")
    return {"samples": total, "skipped": len(bad), "bad": bad, "shards": shards}


def _checked(
    samples: Iterable[Sample], columns: Columns, bad: list[dict[str, str]], workers: int | None
) -> Iterator[Sample]:
    """The good samples, in order; the bad ones are appended to ``bad``. Images are decoded by ``workers`` threads."""
    seen: set[str] = set()
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches(samples, 64):
            for sample, reason in zip(batch, pool.map(lambda s: problem(s, columns), batch), strict=True):
                if sample.sample_id in seen:
                    reason = "sample_id used twice"
                seen.add(sample.sample_id)
                if reason is None:
                    yield sample
                else:
                    bad.append({"sample_id": sample.sample_id, "reason": reason})


def batches(items: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """``items`` in lists of ``size``, the last one shorter (itertools.batched from Python 3.12 on)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _shard_table(samples: Iterable[Sample]) -> pa.Table:
    rows = [
        {
            "sample_id": sample.sample_id,
            "image": None if sample.image is None else {"bytes": sample.image, "path": sample.path},
            "captions": list(sample.captions),
            "labels": [{"name": name, "value": value} for name, value in sample.labels.items()],
            "group_id": sample.group_id,
        }
        for sample in samples
    ]
    return pa.Table.from_pylist(rows, schema=tables.SHARD)


def shard_paths(manifest: Mapping, folder: Path) -> list[Path]:
    """Paths of the shards that a manifest lists; raises DataError for one that is missing."""
    paths = [folder / entry["file"] for entry in manifest["shards"]]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is listed in the manifest and not there; delete the manifest and run again.")
    return paths


def labels_of(paths: Iterable[Path], name: str) -> tuple[list[str], list[str | None]]:
    """The sample_ids of some shards, in order, and the class called ``name`` of each (None where it has none)."""
    ids: list[str] = []
    values: list[str | None] = []
    for path in paths:
        table = tables.read(path, ["sample_id", "labels"])
        ids += table["sample_id"].to_pylist()
        values += [
            next((pair["value"] for pair in pairs or () if pair["name"] == name), None)
            for pairs in table["labels"].to_pylist()
        ]
    return ids, values


def read_documents(path: Path) -> list[str]:
    """The documents of a text: the lines of a .txt file, or every caption (column text) of a local data set.

    Empty lines are left out. Raises DataError where nothing is left.
    """
    if path.suffix == ".txt":
        documents = path.read_text(encoding="utf-8").splitlines()
    else:
        samples = read_local(path, Columns(image=None))
        documents = [caption for sample in samples for caption in sample.captions]
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise DataError(f"{path} holds no text.")
    return documents


def bounded(documents: Iterable[str], count: int | None = None, size: int | None = None) -> list[str]:
    """The first ``count`` documents; and no more after those that reach ``size`` bytes of UTF-8 (None: no bound).

    Raises DataError where ``size`` bytes are asked for and the documents hold fewer.
    """
    taken: list[str] = []
    room = math.inf if size is None else size
    for document in islice(documents, count):
        taken.append(document)
        room -= len(document.encode())
        if room <= 0:
            return taken
    if not taken:
        raise DataError("the source holds no text.")
    if size is not None and count is None:
        raise DataError(f"{size:,} bytes of text are asked for, the source has {size - room:,}; lower 'bytes'.")
    return taken
