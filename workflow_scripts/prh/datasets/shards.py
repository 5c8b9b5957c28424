"""Shards as the later stages read them: which there are, and the classes of their samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from prh.datasets.errors import DataError
from prh.io import tables


def shard_paths(manifest: Mapping, folder: Path) -> list[Path]:
    """Paths of the shards that a manifest lists.

    Raises DataError for one that is missing, and TableError for one of other samples.
    """
    paths = [folder / entry["file"] for entry in manifest["shards"]]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is listed in the manifest and not there; delete the manifest and run again.")
    for path, entry in zip(paths, manifest["shards"], strict=True):
        tables.require(path, digest=entry["digest"])
        with tables.open_table(path) as table:
            if (rows := table.metadata.num_rows) != entry["samples"]:
                raise DataError(
                    f"{path} has {rows} samples and the manifest says {entry['samples']}; delete both and run again."
                )
    return paths


def labels_of(paths: Iterable[Path], name: str, dataset: str | None = None) -> tuple[list[str], list[str | None]]:
    """The sample_ids of some shards, in order, and the class called ``name`` of each (None where it has none).

    Raises DataError where no sample has one, and TableError for a shard that is not of ``dataset``.
    """
    paths = list(paths)
    ids: list[str] = []
    values: list[str | None] = []
    for path in paths:
        tables.require(path, dataset=dataset)
        table = tables.read(path, ["sample_id", "labels"])
        ids += table["sample_id"].to_pylist()
        values += [
            next((pair["value"] for pair in pairs or () if pair["name"] == name), None)
            for pairs in table["labels"].to_pylist()
        ]
    if values and not any(value is not None for value in values):
        raise DataError(f"none of the {len(values)} samples in {paths[0].parent} has a label '{name}'; mend 'labels'.")
    return ids, values
