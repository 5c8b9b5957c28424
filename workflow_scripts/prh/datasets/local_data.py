"""Samples of data sets on this machine, in the forms of `prh.datasets.local_forms`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from prh.datasets import local_forms, parquet_files, samples
from prh.datasets.errors import DataError
from prh.datasets.local_forms import FILE_NAME
from prh.datasets.samples import AUTO, Sample, SampleColumns
from prh.io import text_files


@dataclass(frozen=True)
class Reading:
    """Samples of a source, read one by one, and how the source was interpreted."""

    samples: Iterable[Sample]
    form: str
    """How the source was interpreted, in a few words."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of files that are not samples, by file ending."""
    inferred: Sequence[str] = ()
    """What the entry leaves open and the source decides, a few words each."""

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


def read_fetched(_entry: object, facts: Mapping, columns: SampleColumns, chosen: Mapping) -> Reading:
    """`read_local` in the form of `prh.downloads.sources.Source.read`."""
    return read_local(Path(facts["root"]), columns, chosen)


def read_local(root: Path, columns: SampleColumns, chosen: Mapping[str, int | None] | None = None) -> Reading:
    """Samples of a folder or file, in a stable order.

    ``chosen`` may hold {"samples": count, "shuffle_seed": seed}; with a seed, a random subset is read, still in the
    order of the source. Raises DataError if the source has none of the forms, or lacks a column.
    """
    chosen = chosen or {}
    form = local_forms.form_of(root)
    if form.metadata is not None:
        return _read_metadata(root, form.metadata, columns, chosen)
    if form.parquet:
        return _read_parquet(root, form.parquet, columns, chosen)
    if form.images:
        return _read_folders(root, form, columns, chosen)
    raise DataError(f"{root} holds neither metadata.jsonl nor Parquet files nor images.")


def subset(rows: Iterable, samples: int | None = None, shuffle_seed: int | None = None) -> list:
    """``rows``, or a random subset of ``samples`` of them, in their order.

    Without a seed nothing is left out here, because `prh.datasets.sharding.shard` stops by itself and replaces bad
    samples by later ones.
    """
    rows = list(rows)
    if shuffle_seed is None or samples is None or samples >= len(rows):
        return rows
    picked = np.random.default_rng(shuffle_seed).choice(len(rows), samples, replace=False)
    return [rows[i] for i in sorted(picked)]


# ---- a file of metadata ---------------------------------------------------------------------------------------


def _read_metadata(root: Path, path: Path, columns: SampleColumns, chosen: Mapping) -> Reading:
    try:
        rows = [(i, line, row) for i, (line, row) in enumerate(local_forms.metadata_rows(path))]
    except (local_forms.FormError, text_files.TextError) as error:
        raise DataError(str(error)) from None
    if not rows:
        raise DataError(f"{path} holds no sample; it needs one row for each.")
    if columns.image is None:
        form = f"{path.name}: texts"
    elif root.is_file():
        raise DataError(f"{path} must be read by its folder: set 'path' to that, or image: null for texts alone.")
    else:
        form = f"{path.name}: a row for each image"
        for _, line, row in rows:
            if FILE_NAME not in row and columns.image not in row:
                raise DataError(f"{path}, line {line}: no file_name; set image: null if the data are texts alone.")
    read = samples.reader(path.parent)
    picked = subset(rows, **chosen)
    first = rows[0][2]
    inferred = [] if columns.image is not None or _has_images(first) else [f"no images ({path.name} names none)"]
    inferred += _inferred_ids(columns, first)
    return Reading((_metadata_sample(row, i, columns, read, path, line) for i, line, row in picked), form, {}, inferred)


def _has_images(row: Mapping) -> bool:
    return FILE_NAME in row or SampleColumns.image in row


def _inferred_ids(columns: SampleColumns, available: Collection[str]) -> list[str]:
    """Which column the ids are taken from, if the entry leaves that open."""
    if columns.sample_id != AUTO:
        return []
    column = next((name for name in (FILE_NAME, *samples.ID_COLUMNS) if name in available), None)
    return [f"ids from column '{column}'" if column else "ids are numbers, as no column has any"]


def _metadata_sample(
    row: dict, index: int, columns: SampleColumns, read: samples.Read, path: Path, line: int
) -> Sample:
    """The sample in a row of metadata: file_name gives its image and, unless the entry names another column, its id."""
    if FILE_NAME not in row:
        return samples.sample_of(row, index, columns, read, f"{path}, line {line}")
    name = row[FILE_NAME]
    is_named = isinstance(name, str) and bool(name.strip())
    if columns.image is not None and not is_named:
        return Sample(f"line {line}", None, None, (), fault=f"image missing (its file_name is {json.dumps(name)[:60]})")
    named = replace(
        columns,
        image=None if columns.image is None else FILE_NAME,
        sample_id=FILE_NAME if is_named and columns.sample_id == AUTO else columns.sample_id,
    )
    return samples.sample_of(row, index, named, read, f"{path}, line {line}")


# ---- Parquet files --------------------------------------------------------------------------------------------


def _read_parquet(root: Path, paths: tuple[Path, ...], columns: SampleColumns, chosen: Mapping) -> Reading:
    keep = None
    if chosen.get("shuffle_seed") is not None:
        keep = set(subset(range(sum(map(parquet_files.count_rows, paths))), **chosen))
    form = paths[0].name if len(paths) == 1 else f"{len(paths)} Parquet files"
    available = parquet_files.column_names(paths[0])
    images = _with_images(paths[0], columns, available).image
    inferred = [f"images from column '{images}'"] if images != columns.image else []
    inferred += _inferred_ids(columns, [name for name in available if name != FILE_NAME])
    return Reading(_parquet_samples(root, paths, columns, keep), form, {}, inferred)


def _parquet_samples(
    root: Path, paths: tuple[Path, ...], columns: SampleColumns, keep: set[int] | None
) -> Iterator[Sample]:
    start = 0
    for path in paths:
        available = parquet_files.column_names(path)
        wanted = _with_images(path, columns, available)
        samples.require_columns(wanted, available, str(path))
        names = parquet_files.class_names(path, wanted.classes())
        home = path.parent if root.is_file() else root
        read = samples.reader(home, path.parent, home)
        number = 0
        for number, row in enumerate(parquet_files.rows(path, wanted.roots(available)), start=1):
            index = start + number - 1
            if keep is None or index in keep:
                yield samples.sample_of(row, index, wanted, read, f"{path}, row {number - 1}", names)
        start += number


def _with_images(path: Path, columns: SampleColumns, available: list[str]) -> SampleColumns:
    """``columns``, with file_name as the column of images if the file has no column of its own for them."""
    if columns.image is None or samples.root_of(columns.image, available) in available:
        return columns
    if columns.image == SampleColumns.image and FILE_NAME in available:
        return replace(columns, image=FILE_NAME)
    samples.require_columns(columns, available, str(path))
    return columns


# ---- images in folders ----------------------------------------------------------------------------------------


def _read_folders(root: Path, form: local_forms.Form, columns: SampleColumns, chosen: Mapping) -> Reading:
    if columns.captions is not None:
        raise DataError(
            f"{root} holds images in folders and no metadata.jsonl, so there are no captions: set captions: null."
        )
    if columns.sample_id not in (None, AUTO):
        raise DataError(f"{root} holds images in folders, whose ids are their paths: no column '{columns.sample_id}'.")
    for column in columns.labels:
        if column != "class":
            raise DataError(f"{root} holds images in folders: the only label is 'class', there is no '{column}'.")
    images = subset(enumerate(form.images), **chosen)
    endings = Counter(path.suffix.lower() or "no ending" for path in form.others)
    return Reading(
        (_folder_sample(root, path, index, columns) for index, path in images),
        "images, their folder the label 'class'",
        dict(sorted(endings.items())),
        ["no captions (images in folders have none)", *(["ids are their paths"] if columns.sample_id == AUTO else [])],
    )


def _folder_sample(root: Path, path: Path, index: int, columns: SampleColumns) -> Sample:
    name = path.relative_to(root).as_posix()
    image, fault = (None, None) if columns.image is None else samples.read_image(path)
    return Sample(
        sample_id=f"{index:08d}" if columns.sample_id is None else name,
        image=image,
        path=name,
        captions=(),
        labels={} if path.parent == root else {"class": path.parent.name},
        fault=fault,
    )
