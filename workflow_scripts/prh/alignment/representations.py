"""Models as their tables hold them: samples, their groups, and the layers or neighbours that are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from prh.core import sample_sizes
from prh.core.metrics import Representation
from prh.core.preparation import Precision, preparation_arguments, prepared_layers
from prh.core.ties import key_of
from prh.io import tables
from prh.jobs.about import about
from prh.jobs.progress import Progress

if TYPE_CHECKING:
    from prh.experiment.schema import Alignment


def read_samples(path: Path) -> list[str]:
    """The sample_ids of a features or neighbours table."""
    return tables.read(path, ["sample_id"])["sample_id"].to_pylist()


def has_samples(path: Path, samples: Sequence[str], of: Path, *, required: bool = True) -> bool:
    """Whether a table holds the ``samples`` of the table ``of``; TableError where that is ``required`` and not so."""
    ids = read_samples(path)
    if required:
        tables.require_same_samples(samples, ids, (str(of), str(path)))
    return list(samples) == ids


def read_groups(shards: Path, samples: Sequence[str], of: str | Path = "the features") -> np.ndarray:
    """The group of each of ``samples``, int [n], from a folder of shards; a sample without a group is its own group.

    ``of``: the table that has these samples, for messages. Raises TableError unless the shards hold these samples in
    this order.
    """
    paths = sorted(shards.glob("*.parquet"))
    parts = [tables.read(path, ["sample_id", "group_id"]) for path in paths]
    table = pa.concat_tables([tables.SHARD.empty_table().select(["sample_id", "group_id"]), *parts])
    ids, groups = (table[name].to_pylist() for name in ("sample_id", "group_id"))
    tables.require_same_samples(samples, ids, (str(of), str(shards)))
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
    """A model as its tables hold it: prepared features or kernels, neighbours, or both.

    Products are taken on ``device``. Layers that are the same for all samples are left out, and keep their numbers.
    """
    layers = kernels = lists = ties = None
    if features is not None and are_kernels(features):
        kernels = list(read_kernels(features))
    elif features is not None:
        layers = list(prepared(features, preparation))
    if neighbours is not None:
        lists, ties = _layers(neighbours), tables.made_by(neighbours).get("ties")
    settings = {"device": device, "memory_gb": memory_gb, "precision": preparation.get("precision", "float32")}
    return Representation(name, layers, lists, kernels=kernels, ties=ties, **settings)


def are_kernels(features: Path) -> bool:
    """Whether a features table holds kernels, which need no preparation."""
    with tables.open_table(features) as table:
        return tables.holds_kernels(table.schema_arrow)


def read_kernels(features: Path) -> Iterator[np.ndarray | None]:
    """The kernels of a features table, float32 [n, n], one at a time; None for each that tells no samples apart."""
    import torch

    from prh.core.kernel_inputs import is_constant_kernel

    with about(str(features)):
        with tables.open_table(features) as table:
            names = tables.layer_columns(table.schema_arrow)
        for name in names:
            kernel = tables.layer_array(tables.read(features, [name]), name)
            yield None if is_constant_kernel(torch.as_tensor(kernel)) else kernel


def prepared(features: Path, preparation: Mapping[str, object]) -> Iterator[np.ndarray | None]:
    """The layers of a features table, prepared (``prh.prepare``); None for each that is the same for all samples.

    ``preparation`` holds the arguments of ``prepare``: clamp, clamp_scope, normalise and, where they are not the
    default, quantile and precision. Layers are read one at a time, unless one quantile is taken over all of them.
    """
    with about(str(features)):
        with tables.open_table(features) as table:
            names = tables.layer_columns(table.schema_arrow)
        model = tables.made_by(features).get("model", features.stem)
        read = ((f"{model}, {name}", tables.layer_array(tables.read(features, [name]), name)) for name in names)
        yield from prepared_layers(read, **preparation)


def _layers(path: Path) -> list[np.ndarray | None]:
    """The lists of every layer; None for each that was left out, which has no column."""
    with about(str(path)):
        table, left_out = tables.read(path), tables.made_by(path).get("left_out", [])
        columns = iter(tables.layer_columns(table.schema))
        count = len(table.schema.names) - 1 + len(left_out)
        return [None if i in left_out else tables.layer_array(table, next(columns)) for i in range(count)]


def stored_neighbours(
    features: Path, section: Alignment, *, device: str = "cpu", memory_gb: float = 2.0
) -> tuple[pa.Table, dict[str, object]]:
    """The neighbours table of a features table, and facts for its footer.

    Parameters
    ----------
    features : Path
        The features table.
    section : prh.experiment.schema.Alignment
        How layers are prepared, and how many neighbours are listed at most (``k_max``).
    device, memory_gb : str, float
        Where products are taken, and a bound on what is held at once.

    Raises
    ------
    ValueError
        Too few samples, or every layer is the same for all of them.
    """
    preparation, source = preparation_arguments(section.model_dump()), tables.made_by(features)
    model, samples = source["model"], read_samples(features)
    sample_sizes.require(len(samples), "mutual_knn")
    with tables.open_table(features) as table:
        count, by_kernel = len(tables.layer_columns(table.schema_arrow)), tables.holds_kernels(table.schema_arrow)
    depth = min(section.k_max, len(samples) - 1)
    settings = {"precision": preparation.get("precision", "float32"), "device": device, "memory_gb": memory_gb}
    with Progress(f"neighbours of {model}", total=count, unit="layer") as progress:
        layers = read_kernels(features) if by_kernel else prepared(features, preparation)
        layers = _counted(layers, progress)
        neighbours, facts = neighbours_table(model, samples, layers, depth, by_kernel=by_kernel, **settings)
    facts |= {"model": model, "dataset": source.get("dataset"), "layer_names": source["layer_names"]}
    return neighbours, facts | {"samples": tables.digest_of_samples(samples)}


def summary(facts: Mapping[str, Any]) -> Iterator[str]:
    """Sentences about a neighbours table, from the facts of its footer."""
    names, worst = facts["layer_names"], max(max(shares) for shares in facts["ties"] if shares is not None)
    yield f"{facts['model']}: up to {worst:.2%} of the samples have a tie at a place of their lists, broken by lot"
    for number in facts["left_out"]:
        yield f"{facts['model']}: left out, as it is the same for all samples: layer {number} ({names[number]})"


def _counted(layers: Iterator[np.ndarray | None], progress: Progress) -> Iterator[np.ndarray | None]:
    for layer in layers:
        yield layer
        progress.advance()


def neighbours_table(
    name: str,
    samples: Sequence[str],
    layers: Iterable[np.ndarray | None],
    depth: int,
    *,
    by_kernel: bool = False,
    precision: Precision = "float32",
    device: str = "cpu",
    memory_gb: float = 2.0,
) -> tuple[pa.Table, dict[str, object]]:
    """(neighbours table of a model, facts for its footer) from its prepared layers, None for those left out.

    ``by_kernel``: the layers are kernels, in which the most similar samples are the nearest. Facts: ``ties``, for each
    layer the share of samples with a tie at each place (null for a layer left out), and ``left_out``, the numbers of
    the layers that are the same for all samples, which have no column in the table. Raises ValueError if that is so for
    every layer.
    """
    from prh.core.kernel_neighbours import nearest_by_kernel
    from prh.core.neighbours import nearest

    search = nearest_by_kernel if by_kernel else nearest
    settings, lists = {"precision": precision, "device": device, "memory_gb": memory_gb}, []
    for number, layer in enumerate(layers):
        with about(f"layer {number}"):
            lists.append(None if layer is None else search(layer, depth, key=key_of(name, number), **settings))
    kept = [number for number, one in enumerate(lists) if one is not None]
    if not kept:
        raise ValueError(
            f"{name}: every layer is the same for all {len(samples)} samples, so no sample is nearer than another; "
            "look at its pooling and its prompt, or leave the model out."
        )
    table = tables.layers_table(samples, [lists[number].indices for number in kept], kept)
    ties = [None if one is None else one.ties.tolist() for one in lists]
    return table, {"ties": ties, "left_out": [number for number, one in enumerate(lists) if one is None]}
