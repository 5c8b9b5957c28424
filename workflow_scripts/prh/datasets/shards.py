"""Shards as later stages read them: their paths, and the classes of their samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from prh.datasets.errors import DataError
from prh.io import files, tables


def read_manifest(path: Path, dataset: str | None = None) -> dict:
    """The manifest of a data set's shards. Raises DataError if it is damaged or belongs to another data set."""
    manifest = files.read_json(path, "dataset", "shards")
    if dataset not in (None, manifest["dataset"]):
        raise DataError(
            f"{path} is the manifest of data set {manifest['dataset']!r} instead of {dataset!r}; delete it and run "
            "snakemake again, which makes it and everything that depends on it again."
        )
    if not isinstance(manifest["shards"], list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("file"), str) for entry in manifest["shards"]
    ):
        raise DataError(f"{path} is damaged: it does not list its shards; delete it and run snakemake again.")
    return manifest


def shard_paths(manifest: Mapping, folder: Path) -> list[Path]:
    """The paths of the shards in a manifest. Raises DataError if one is missing or is not the shard of the manifest."""
    paths = []
    for entry in manifest["shards"]:
        path = folder / entry["file"]
        if not path.is_file():
            raise DataError(f"{path} is in the manifest but does not exist; delete the manifest and run again.")
        if "digest" in entry and tables.made_by(path).get("digest") != entry["digest"]:
            raise DataError(f"{path} is not the shard that manifest.json lists; delete manifest.json and run again.")
        rows = tables.rows(path)
        if rows != entry.get("samples", rows):
            raise DataError(
                f"{path} has {rows} samples and the manifest says {entry['samples']}; delete both and run again."
            )
        paths.append(path)
    return paths


def sample_ids(manifest: Mapping, folder: Path) -> list[str]:
    """The sample_ids of a data set, in order. Raises DataError as `shard_paths` does."""
    paths = shard_paths(manifest, folder)
    return [sample for path in paths for sample in tables.read(path, ["sample_id"])["sample_id"].to_pylist()]


def labels_of(paths: Iterable[Path], name: str, dataset: str | None = None) -> tuple[list[str], list[str | None]]:
    """The sample_ids in some shards, in order, and each sample's label ``name`` (None if it has none).

    Raises DataError if no sample has that label, and TableError if a shard does not belong to ``dataset``.
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
        raise DataError(
            f"none of the {len(values)} samples in {paths[0].parent} has a label '{name}'; correct 'labels'."
        )
    return ids, values
