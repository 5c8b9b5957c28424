"""Time and memory of the jobs of an experiment, from Snakemake's benchmark files and what the jobs say at their end."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from prh.jobs.command import USAGE

log = logging.getLogger(__name__)

SCHEMA = {
    "stage": pl.String,
    "job": pl.String,
    "seconds": pl.Float64,
    "work_seconds": pl.Float64,
    "cpu_seconds": pl.Float64,
    "peak_mb": pl.Float64,
}


def collect(times: Path, logs: Path) -> pl.DataFrame:
    """One row per job below ``times``, {stage}/{job}.tsv (schema SCHEMA): the last time it ran.

    seconds is from the start of the job to its end, work_seconds without the start of Python and its imports.
    cpu_seconds and peak_mb (10^6 bytes) are what the job counted itself and told at the end of {stage}/{job}.log below
    ``logs``; of one that did not, as when it was killed, what Snakemake saw of it: nothing of a fork. A file without a
    line of numbers, or that is no table, is left out.
    """
    rows = []
    for path in sorted(times.rglob("*.tsv")):
        try:
            table = pl.read_csv(path.read_bytes(), separator="\t", infer_schema=False)  # bytes: a path may hold a *
        except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:  # OSError: a folder, no permission
            if path.is_file() and path.stat().st_size:  # an empty one is a job that was killed
                log.warning("%s is left out, for it is no table of times: %s", path, " ".join(str(error).split())[:100])
            continue
        if table.height == 0 or not {"s", "cpu_time", "max_rss"} <= set(table.columns):
            continue
        relative = path.relative_to(times)
        place = relative.with_suffix("")
        last = table.row(-1, named=True)
        seconds, cpu, peak = (_number(last[name]) for name in ("s", "cpu_time", "max_rss"))
        sampled = None, cpu, None if peak is None else peak * 2**20 / 1e6
        measured = _told(logs / relative.with_suffix(".log")) or sampled
        rows.append((place.parts[0], place.relative_to(place.parts[0]).as_posix(), seconds, *measured))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def by_stage(timings: pl.DataFrame) -> pl.DataFrame:
    """For each stage its jobs, their seconds in all, the longest of them, and the highest peak; the dearest first."""
    return (
        timings.group_by("stage")
        .agg(
            jobs=pl.len(),
            seconds=pl.sum("seconds"),
            work_seconds=pl.sum("work_seconds"),
            cpu_seconds=pl.sum("cpu_seconds"),
            longest=pl.max("seconds"),
            peak_mb=pl.max("peak_mb"),
        )
        .sort("seconds", "stage", descending=[True, False])
    )


def _told(log: Path) -> tuple[float, ...] | None:
    """The last numbers of prh.jobs.command.usage in a log."""
    found = USAGE.findall(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else []
    return tuple(map(float, found[-1])) if found else None


def _number(text: str | None) -> float | None:
    """None for what Snakemake could not measure (NA or -)."""
    try:
        return float(text or "")
    except ValueError:
        return None
