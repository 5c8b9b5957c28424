"""A model as its tables hold it: its samples, their groups, and the layers or neighbours that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from prh import tables
from prh.alignment import prepare
from prh.metrics import Representation

PREPARATION = {"clamp", "clamp_scope", "normalise"}
"""Settings of an experiment that say how features are prepared (prh.config.Alignment)."""


def read_samples(path: Path) -> list[str]:
    """The sample_ids of a features or neighbours table."""
    return tables.read(path, ["sample_id"])["sample_id"].to_pylist()


def read_groups(shards: Path, samples: Sequence[str]) -> np.ndarray:
    """The group of each of ``samples``, int [n], from a folder of shards; a sample without one is a group of its own.

    Raises TableError unless the shards hold these samples in this order.
    """
    paths = sorted(shards.glob("*.parquet"))
    table = pa.concat_tables([tables.read(path, ["sample_id", "group_id"]) for path in paths])
    ids, groups = (table[name].to_pylist() for name in ("sample_id", "group_id"))
    tables.require_same_samples(samples, ids, ("the features", str(shards)))
    keys = [("sample", name) if group is None else ("group", group) for name, group in zip(ids, groups, strict=True)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def representation(
    name: str,
    features: Path | None,
    neighbours: Path | None,
    preparation: Mapping[str, object],
    *,
    device: str = "cpu",
    memory_gb: float = 2.0,
) -> Representation:
    """A model as its tables hold it: prepared features, neighbours, or both; products are taken on ``device``."""
    layers = found = ties = None
    if features is not None:
        layers = list(prepared(features, preparation))
    if neighbours is not None:
        found, ties = _layers(neighbours), tables.made_by(neighbours).get("ties")
    return Representation(name, layers, found, ties=ties, device=device, memory_gb=memory_gb)


def prepared(features: Path, preparation: Mapping[str, object]) -> Iterator[np.ndarray]:
    """The layers of a features table, clamped and normalised as ``preparation`` says: clamp, clamp_scope, normalise.

    Read one at a time, unless one quantile is taken over all of them.
    """
    with tables.open_table(features) as table:
        names = tables.layer_columns(table.schema_arrow)
    read = (tables.layer_array(tables.read(features, [name]), name) for name in names)
    if preparation["clamp_scope"] == "global":
        yield from prepare(list(read), **preparation)
        return
    for name, layer in zip(names, read, strict=True):
        yield prepare(layer, name=name, **preparation)


def _layers(path: Path) -> list[np.ndarray]:
    table = tables.read(path)
    return [tables.layer_array(table, name) for name in tables.layer_columns(table.schema)]
