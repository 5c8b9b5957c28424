"""What of a results folder is pushed as a bank: the tables, checked, and without the paths of this machine.

Tables whose footer or text columns name absolute paths are copied with only the last part of each; all others are
uploaded as they are. Logs, weights, images and captions are not part of a bank, unless the last two are asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from prh.bank.folder import FEATURES, MODELS, NEIGHBOURS, Bank
from prh.bank.places import BankError
from prh.downloads import lockfile
from prh.io import tables

LOCK, CARD = "bank.lock.yaml", "README.md"
FOLDERS = (NEIGHBOURS, FEATURES, "alignment", "tables", "datasets", "figures")
"""Folders of a bank."""
MAIN_FIGURES = ("alignment_matrix_calibrated", "alignment_matrix", "cross_modal")
LARGEST_FIGURE = 500_000
"""Bytes of a figure that is still uploaded."""
_PATH = re.compile(r"(?<![\w:/.~>-])(?:file:/*|~|[A-Za-z]:)?/(?:[^/\s'\",;:<>|()]+/)+[^/\s'\",;:<>|()]*")
_IS_PATH = re.compile(r"(file:|~|/(?!/)|\\\\|[A-Za-z]:[\\/])")


@dataclass(frozen=True)
class Package:
    """The files of a bank by their path in the repository, and the open banks of its data sets."""

    folder: Path
    files: dict[str, Path]
    banks: list[Bank]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())


def pack(
    folder: Path,
    work: Path,
    *,
    datasets: Sequence[str] = (),
    features: bool = False,
    captions: bool = False,
    images: bool = False,
) -> Package:
    """The package of a results folder; copies are written to ``work``.

    Raises BankError for a folder that is no bank or is not finished, and TableError for a damaged table.
    """
    if not folder.is_dir():
        raise BankError(f"there is no folder {folder}; pass the results folder of an experiment that has run.")
    if (folder / NEIGHBOURS).is_dir():
        _require_finished(folder)
    present = sorted(path.name for path in (folder / NEIGHBOURS).glob("*") if path.is_dir())
    banks = [Bank(folder, name) for name in datasets or present or [None]]
    chosen = list(_tables(folder, banks, features))
    files = {path.relative_to(folder).as_posix(): _clean(path, folder, work) for path in chosen}
    for bank in banks:
        files |= _data_files(bank, work, captions=captions, images=images)
        files |= {path.relative_to(folder).as_posix(): path for path in _figures(folder, bank.dataset)}
    if lock := merged_lock(folder):
        (work / LOCK).write_text(lockfile.HEADING_BESIDE + yaml.safe_dump(lock), encoding="utf-8")
        files[LOCK] = work / LOCK
    return Package(folder, files, banks)


def _require_finished(folder: Path) -> None:
    unfinished = [MODELS] if not (folder / MODELS).is_file() else []
    if (folder / "alignment").is_dir() and not (folder / "tables/alignment.parquet").is_file():
        unfinished.append("tables/alignment.parquet")
    if unfinished:
        raise BankError(f"{folder} is not finished: it has no {' and no '.join(unfinished)}; run snakemake first.")


def _tables(folder: Path, banks: Sequence[Bank], features: bool) -> Iterator[Path]:
    for bank in banks:
        for model in bank.models:
            yield folder / NEIGHBOURS / bank.dataset / f"{model}.parquet"
            if features:
                path = folder / FEATURES / bank.dataset / f"{model}.parquet"
                if not path.is_file():
                    raise BankError(f"{folder} has no features of {model} on {bank.dataset}; push without --features.")
                yield path
        yield from sorted((folder / "alignment" / bank.dataset).glob("*/*.parquet"))
    for name in (MODELS, "tables/alignment.parquet", "tables/scores.parquet"):
        if (folder / name).is_file():
            yield folder / name


def _data_files(bank: Bank, work: Path, *, captions: bool, images: bool) -> dict[str, Path]:
    """The manifest, and the ids and groups of the samples; the shards, without images or whole, if they are wanted."""
    place = f"datasets/{bank.dataset}"
    source, files = bank.folder / place, {}
    if (source / "manifest.json").is_file():
        try:
            manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
        except ValueError:
            raise BankError(f"{source / 'manifest.json'} is damaged; delete it and run snakemake again.") from None
        target = work / place / "manifest.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(without_paths(manifest), indent=1), encoding="utf-8")
        files[f"{place}/manifest.json"] = target
    shards = sorted((source / "shards").glob("*.parquet"))
    if not shards and (captions or images):
        raise BankError(f"{bank.folder} has no captions or images of {bank.dataset}; push without them.")
    for shard in shards or sorted((source / "ids").glob("*.parquet")):  # a bank that was pulled has only ids
        target = work / place / "ids" / shard.name
        tables.write(tables.read(shard, ["sample_id", "group_id"]), target, tables.made_by(shard))
        files[f"{place}/ids/{shard.name}"] = target
        if images:
            files[f"{place}/shards/{shard.name}"] = _clean(shard, bank.folder, work)
        elif captions:
            target = work / place / "shards" / shard.name
            tables.write(tables.read(shard, ["sample_id", "captions", "group_id"]), target, tables.made_by(shard))
            files[f"{place}/shards/{shard.name}"] = target
    return files


def _figures(folder: Path, dataset: str) -> Iterator[Path]:
    for name in MAIN_FIGURES:
        for path in sorted((folder / "figures" / dataset).glob(f"*/{name}.png")):
            if path.stat().st_size <= LARGEST_FIGURE:
                yield path


def merged_lock(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The lock file of the results: the entries that each download wrote beside its output, by list and name."""
    lock: dict[str, dict[str, dict[str, str]]] = {}
    for path in [folder / LOCK, *sorted(folder.glob("*/**/*.lock.yaml"))]:  # LOCK is there if the bank was pulled
        for kind, entries in lockfile.read(path).items():
            lock.setdefault(kind, {}).update(entries)
    return without_paths(lock)


def without_paths(value: Any) -> Any:
    """``value`` with the last part of every absolute path in its texts: /home/me/model becomes .../model."""
    if isinstance(value, dict):
        return {without_paths(key): without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    if not isinstance(value, str):
        return value
    if _IS_PATH.match(value):
        return _last(value)
    return _PATH.sub(lambda match: _last(match.group()), value)


def _last(path: str) -> str:
    return ".../" + re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _clean(path: Path, folder: Path, work: Path) -> Path:
    """``path``, or a copy in ``work`` without absolute paths if the table has any. Every page is read and checked."""
    made_by = tables.made_by(path)
    clean = without_paths(made_by)
    with tables.open_table(path) as source:
        groups = range(source.num_row_groups)
        changed = clean != made_by
        for number in groups:
            part = source.read_row_group(number)
            changed = changed or _cleaned(part) is not part
        if not changed:
            return path
        target = work / path.relative_to(folder)
        with tables.writer(target, source.schema_arrow, clean) as sink:
            for number in groups:
                sink.write_table(_cleaned(source.read_row_group(number)))
    return target


def _cleaned(part: pa.Table) -> pa.Table:
    """``part`` with its columns of text, but for sample ids, without absolute paths; itself if it has none."""
    for number, field in enumerate(part.schema):
        if not pa.types.is_string(field.type) or field.name == "sample_id":
            continue
        values = part.column(number).to_pylist()
        clean = without_paths(values)
        if clean != values:
            part = part.set_column(number, field, pa.array(clean, field.type))
    return part
