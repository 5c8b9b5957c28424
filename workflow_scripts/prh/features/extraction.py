"""Extraction of features: every layer of a model for every sample of a data set, pooled, checked, resumable.

Work is split by shard. Each finished shard is a part on disk, and a run that was killed continues after the last part.
Memory holds the features of one shard at a time, whatever the number of samples.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from prh.io import files, tables, versions
from prh.jobs.about import about
from prh.jobs.progress import Progress
from prh.modalities.base import Encoder, FeatureError
from prh.models.selftest import SelfTest


def check_finite(
    layers: Sequence[np.ndarray], sample_ids: Sequence[str], layer_names: Sequence[str], model: str
) -> None:
    """Raise FeatureError naming model, layer and sample for the first NaN or infinite feature."""
    for layer, name in zip(layers, layer_names, strict=True):
        finite = np.isfinite(layer).all(axis=1)
        if not finite.all():
            sample = sample_ids[int(np.argmin(finite))]
            raise FeatureError(
                f"model {model!r}, layer {name}: NaN or infinite feature for sample {sample!r} "
                f"({int((~finite).sum())} samples of this shard); try dtype: float32 or leave the sample out."
            )


# ---- a whole data set -----------------------------------------------------------------------------------------


def recipe(*facts: object) -> str:
    """A digest of everything that a part is made from; parts with another digest are made again.

    Besides ``facts``, it covers the loaded code of prh and the versions of libraries. Snakemake runs the job again when
    these change, and old parts must not be joined with new ones.
    """
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "prh"}
    code = {name: files.sha256(Path(module.__file__)) for name, module in loaded.items()}
    made_from = [facts, code, versions.libraries()]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()[:16]


def extract(
    encoder: Encoder,
    shards: Sequence[Path],
    output: Path,
    *,
    model: str,
    digest: str,
    encode: Callable[..., Iterator[list[np.ndarray]]],
    keep: Sequence[int] | None = None,
    batch_size: int | None = None,
    workers: int = 1,
    made_by: Mapping[str, object] | None = None,
) -> None:
    """Write the features table of ``encoder`` over ``shards`` to ``output``, continuing after finished parts.

    ``encode`` cuts batches and returns the features shard by shard, see `prh.modalities.base.Modality.encode`. Parts
    are kept in ``output``.parts/ and reused only if their ``digest`` is the same; parts of other shards are removed.
    The table has one row per sample, in shard order, and one float32 layer_* column per layer, or per layer numbered in
    ``keep`` (negative numbers count from the end). Raises FeatureError for a NaN or infinite feature; finished parts
    stay for the next run.
    """
    kept = kept_layers(keep, len(encoder.layer_names), model)
    names = [encoder.layer_names[number] for number in kept]
    parts = [output.with_suffix(".parts") / path.name for path in shards]
    for left_over in set(parts[0].parent.glob("*")).difference(parts):
        left_over.unlink()
    todo = [i for i, part in enumerate(parts) if not _is_done(part, digest)]
    counts = [tables.rows(path) for path in shards]
    ahead = [shards[i] for i in todo]
    with about(f"model {model!r}"), Progress(f"features of {model}", total=sum(counts), unit="sample") as progress:
        encoded = encode(encoder, ahead, batch_size=batch_size, workers=workers, advance=progress.advance)
        progress.skip(sum(counts) - sum(counts[i] for i in todo))
        for i, layers in zip(todo, encoded, strict=True):
            ids = tables.read(shards[i], ["sample_id"])["sample_id"].to_pylist()
            layers = [layers[number] for number in kept]
            check_finite(layers, ids, names, model)
            tables.write(tables.layers_table(ids, layers, kept), parts[i], {"digest": digest})
    facts = {
        "model": model,
        "layer_names": list(encoder.layer_names),
        "parameters": encoder.parameters,
        "selftest": getattr(encoder, "selftest", SelfTest()).as_footer(),
    }
    _join_parts(parts, output, tables.provenance(**facts, digest=digest, **(made_by or {})))


def kept_layers(keep: Sequence[int] | None, layers: int, model: str) -> list[int]:
    """The numbers of the layers in ``keep``, from 0 and in order of depth; all ``layers`` of them for None.

    Raises FeatureError for a layer that the model does not have.
    """
    if keep is None:
        return list(range(layers))
    for number in keep:
        if not -layers <= number < layers:
            raise FeatureError(f"layer {number} of model {model!r} is asked for, which has {layers} layers; lower it.")
    return sorted({number % layers for number in keep})


def _is_done(part: Path, digest: str) -> bool:
    try:
        return part.is_file() and tables.made_by(part).get("digest") == digest
    except tables.TableError:
        return False


def _join_parts(parts: Sequence[Path], output: Path, made_by: Mapping[str, object]) -> None:
    """Write the parts as row groups of one table, holding one at a time, and delete them."""
    with tables.open_table(parts[0]) as first:
        schema = first.schema_arrow.remove_metadata()
    ids = [sample for part in parts for sample in tables.read(part, ["sample_id"])["sample_id"].to_pylist()]
    with tables.writer(output, schema, {**made_by, "samples": tables.digest_of_samples(ids)}) as sink:
        for part in parts:
            sink.write_table(tables.read(part).cast(schema))
    shutil.rmtree(parts[0].parent)
