"""The features table of a representation that is given: written a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from prh.io import tables
from prh.models.given import Part


def write(parts: Iterable[Part], samples: Sequence[str], output: Path, made_by: Mapping[str, object]) -> None:
    """Write ``parts``, in the order of ``samples``, as one table whose footer also names the layers.

    The columns are layer_00, ... for features and kernel_00, ... for kernels. Raises ValueError if there is no part.
    """
    parts = iter(parts)
    first = next(parts, None)
    if first is None:
        raise ValueError("there are no samples, so there is nothing to give.")
    kind = tables.KERNEL_PREFIX if first.is_kernel else tables.LAYER_PREFIX
    facts = {**made_by, "layer_names": list(first.names), "samples": tables.digest_of_samples(samples)}
    schema = tables.layers_table(samples[: len(first.layers[0])], first.layers, prefix=kind).schema
    done = 0
    with tables.writer(output, schema, tables.provenance(**facts)) as sink:
        for part in chain([first], parts):
            ids = samples[done : done + len(part.layers[0])]
            sink.write_table(tables.layers_table(ids, part.layers, prefix=kind))
            done += len(ids)
