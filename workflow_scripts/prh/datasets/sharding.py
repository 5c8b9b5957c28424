"""Sharding: every sample of a data set is checked and written to Parquet shards.

A sample is an image (its original encoded bytes), any number of captions, or both. `shard` gives each a stable, unique
sample_id, and reports every bad sample by that id before the data set counts as complete.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa

from prh.datasets.errors import DataError
from prh.datasets.local_data import Reading
from prh.datasets.samples import Sample, SampleColumns
from prh.io import files, images, tables
from prh.jobs.about import about
from prh.jobs.progress import Progress

SHARD_BYTES = 2**28
"""Bytes of samples in a shard (256 MiB): Arrow reads no column of more than 2 GiB, and jobs hold one shard each."""
CHECKED_AT_ONCE, CHECKED_BYTES = 64, 2**26
"""Samples that are held while their images are decoded; fewer if they take more than these bytes."""


# ---- checking -------------------------------------------------------------------------------------------------


@dataclass
class Verdicts:
    """What `shard` has found out about the samples so far."""

    bad: list[dict[str, str]] = field(default_factory=list)
    """The sample_id of every bad sample, and what is wrong with it."""
    images: Counter[str] = field(default_factory=Counter)
    """Conversions that are made when images are decoded, with the number of images."""
    minus_one: Counter[str] = field(default_factory=Counter)
    """Labels that are -1, with the number of samples. Some sources mean no class by it, others a class."""


def problem(sample: Sample, columns: SampleColumns) -> str | None:
    """What is wrong with a sample, in a few words; None if nothing is. The whole image is decoded."""
    return _examined(sample, columns)[0]


def _examined(sample: Sample, columns: SampleColumns) -> tuple[str | None, tuple[str, ...]]:
    """What is wrong with a sample (None if nothing is), and the conversions made when its image is decoded."""
    notes: tuple[str, ...] = ()
    if sample.fault is not None:
        return sample.fault, notes
    if columns.image is not None:
        if sample.image is None:
            return "image missing", notes
        try:
            with about(f"sample {sample.sample_id!r}"):
                notes = images.inspect(sample.image)
        except images.ImageError as error:
            return f"image unreadable ({error})", notes
    if columns.captions is not None and not sample.captions:
        return "no caption", notes
    if any(not caption.strip() for caption in sample.captions):
        return "empty caption", notes
    if any(map(_is_printed, sample.captions)):
        return "caption is a list or struct that was written as text; keep it as lists of texts", notes
    if not _is_unicode(sample):
        return "text that is not Unicode (half of a surrogate pair, or a file name that is not UTF-8)", notes
    return None, notes


def _is_printed(text: str) -> bool:
    """Whether a caption is a list or struct of texts printed as JSON or Python, as in columns of some CSV files."""
    text = text.strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}")):
        return False
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return any(isinstance(part, str) for part in (value.values() if isinstance(value, dict) else value))
    return False


def _is_unicode(sample: Sample) -> bool:
    texts = (sample.sample_id, sample.path or "", sample.group_id or "", *sample.captions, *sample.labels.values())
    try:
        for text in texts:
            text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _checked(
    samples: Iterable[Sample], columns: SampleColumns, verdicts: Verdicts, workers: int | None
) -> Iterator[Sample]:
    """Yield the good samples in order and record the others in ``verdicts``; ``workers`` threads decode images."""
    seen: set[str] = set()
    with ThreadPoolExecutor(workers) as pool:
        for batch in batches(samples, CHECKED_AT_ONCE, CHECKED_BYTES):
            examined = pool.map(lambda sample: _examined(sample, columns), batch)
            for sample, (reason, notes) in zip(batch, examined, strict=True):
                if sample.sample_id in seen:
                    reason = "sample_id used twice"
                seen.add(sample.sample_id)
                if reason is None:
                    verdicts.images.update(notes)
                    verdicts.minus_one.update(name for name, value in sample.labels.items() if value == "-1")
                    yield sample
                else:
                    shown = sample.sample_id.encode("utf-8", "backslashreplace").decode()
                    verdicts.bad.append({"sample_id": shown, "reason": reason})


def batches(samples: Iterable[Sample], size: int, most: float = math.inf) -> Iterator[list[Sample]]:
    """``samples`` in lists of ``size``, or fewer if they would hold more than ``most`` bytes (one always fits)."""
    batch: list[Sample] = []
    held = 0
    for sample in samples:
        if batch and (len(batch) == size or held + sample.bytes > most):
            yield batch
            batch, held = [], 0
        batch.append(sample)
        held += sample.bytes
    if batch:
        yield batch


# ---- sharding -------------------------------------------------------------------------------------------------


def shard(
    samples: Iterable[Sample],
    folder: Path,
    columns: SampleColumns,
    *,
    count: int | None = None,
    shard_size: int = 512,
    on_error: str = "fail",
    workers: int | None = None,
    progress: bool = False,
    made_by: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Write ``samples`` as ``folder``/00000.parquet ... and return the manifest.

    Stops after ``count`` good samples. A shard holds ``shard_size`` of them, or fewer if they would take more than
    ``SHARD_BYTES``. If a sample is bad (see `problem`) or its sample_id is repeated, ``on_error`` "fail" raises
    DataError naming all bad ids, and "skip" leaves it out and counts it in the manifest. ``workers`` threads decode
    images (None: Python's default).

    The manifest is the same for the same data. It holds counts, the bad samples, the conversions of images, the shards,
    how the source was interpreted, and ``digest``: a hash of the content of all samples in order, which does not depend
    on how they are divided into shards.
    """
    verdicts = Verdicts()
    good = _checked(samples, columns, verdicts, workers)
    shards = []
    whole = hashlib.sha256()
    with Progress("samples", count, "samples", shown=progress) as bar:
        for number, batch in enumerate(batches(islice(good, count), shard_size, SHARD_BYTES)):
            path = folder / f"{number:05d}.parquet"
            hashes = [_hash(sample) for sample in batch]
            for each in hashes:
                whole.update(each)
            digest = hashlib.sha256(b"".join(hashes)).hexdigest()
            tables.write(_shard_table(batch), path, tables.provenance(**(made_by or {}), digest=digest))
            shards.append({"file": path.name, "samples": len(batch), "sha256": files.sha256(path), "digest": digest})
            bar.advance(len(batch))
    total = sum(entry["samples"] for entry in shards)
    _require_good(total, verdicts.bad, count, on_error)
    reading = samples if isinstance(samples, Reading) else None
    return {
        "samples": total,
        "skipped": len(verdicts.bad),
        "digest": whole.hexdigest(),
        "form": None if reading is None else reading.form,
        "inferred": [] if reading is None else list(reading.inferred),
        "left_out": {} if reading is None else dict(reading.left_out),
        "images": dict(sorted(verdicts.images.items())),
        "minus_one": dict(sorted(verdicts.minus_one.items())),
        "bad": verdicts.bad,
        "shards": shards,
    }


def _require_good(total: int, bad: list[dict[str, str]], count: int | None, on_error: str) -> None:
    """Raise DataError if there are bad samples and they are not skipped, or if there are too few good ones."""
    if bad and on_error == "fail":
        listed = "; ".join(f"{entry['sample_id']}: {entry['reason']}" for entry in bad[:10])
        more = f" and {len(bad) - 10} more" if len(bad) > 10 else ""
        advice = "correct them, or set on_error: skip to leave them out"
        if any(entry["reason"] == "sample_id used twice" for entry in bad):
            advice += "; 'sample_id' names the column of ids (null: samples are numbered)"
        raise DataError(f"{len(bad)} bad samples ({listed}{more}); {advice}.")
    if total == 0:
        skipped = f": all {len(bad)} are bad, such as {bad[0]['sample_id']}: {bad[0]['reason']}" if bad else ""
        raise DataError(f"the source holds no good sample{skipped}.")
    if count is not None and total < count and on_error == "fail":
        raise DataError(f"{count} samples are asked for, the source has {total}; lower 'samples'.")


def _hash(sample: Sample) -> bytes:
    """SHA-256 of the content of a sample: its id, image, captions, labels and group."""
    image = None if sample.image is None else hashlib.sha256(sample.image).hexdigest()
    facts = [sample.sample_id, image, sample.captions, sorted(sample.labels.items()), sample.group_id]
    return hashlib.sha256(json.dumps(facts).encode()).digest()


def summary(name: str, manifest: Mapping) -> list[str]:
    """The result of sharding a data set, as lines for the log."""
    counts = f"{manifest['samples']} samples in {len(manifest['shards'])} shards, {manifest['skipped']} skipped"
    form = f", read as {manifest['form']}" if manifest["form"] else ""
    lines = [f"{name}: {counts}{form}"]
    if manifest["inferred"]:
        lines.append(f"{name}: inferred: {', '.join(manifest['inferred'])}")
    if manifest["left_out"]:
        endings = ", ".join(f"{count} {ending}" for ending, count in manifest["left_out"].items())
        lines.append(f"{name}: files that are not images: {endings}")
    lines += [f"{name}: {count} images {note}" for note, count in manifest["images"].items()]
    lines += [
        f"{name}: label '{label}' is -1 in {count} samples, which counts as a class; leave it empty if it means none"
        for label, count in manifest["minus_one"].items()
    ]
    lines += [f"{name}: left out {entry['sample_id']}: {entry['reason']}" for entry in manifest["bad"][:20]]
    return lines


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
