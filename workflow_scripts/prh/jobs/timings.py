"""Time and memory of the jobs of an experiment, from Snakemake's benchmark files and the last lines of job logs."""

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
    """One row (schema SCHEMA) for the last run of each job with a file {stage}/{job}.tsv below ``times``.

    seconds is the time from start to end of the job; work_seconds excludes the start of Python and its imports.
    cpu_seconds and peak_mb (10^6 bytes) are the job's own measurements, from the end of {stage}/{job}.log below
    ``logs``. If those are missing, because the job was killed for example, they are what Snakemake measured, which
    excludes forks. Files without a line of numbers, and files that are not a table, are skipped.
    """
    rows = []
    for path in sorted(times.rglob("*.tsv")):
        try:
            table = pl.read_csv(
                path.read_bytes(), separator="\t", infer_schema=False
            )  # read as bytes, because polars would expand a * in the path
        except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:  # OSError: a folder, no permission
            if path.is_file() and path.stat().st_size:  # it is empty if the job was killed
                log.warning(
                    "%s is skipped because it is not a table of times: %s", path, " ".join(str(error).split())[:100]
                )
            continue
        if table.height == 0 or not {"s", "cpu_time", "max_rss"} <= set(table.columns):
            continue
        relative = path.relative_to(times)
        job = relative.with_suffix("")
        last = table.row(-1, named=True)
        seconds, cpu, peak = (_number(last[name]) for name in ("s", "cpu_time", "max_rss"))
        sampled = None, cpu, None if peak is None else peak * 2**20 / 1e6
        measured = _measured(logs / relative.with_suffix(".log")) or sampled
        rows.append((job.parts[0], job.relative_to(job.parts[0]).as_posix(), seconds, *measured))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def by_stage(timings: pl.DataFrame) -> pl.DataFrame:
    """Per stage: number of jobs, total seconds, longest job and highest peak memory; the most expensive stage first."""
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


def _measured(log: Path) -> tuple[float, ...] | None:
    """The numbers of the last line of prh.jobs.command.usage in a log; None if there is none."""
    usages = USAGE.findall(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else []
    return tuple(map(float, usages[-1])) if usages else None


def _number(text: str | None) -> float | None:
    """The number in ``text``; None if Snakemake could not measure it (NA or -)."""
    try:
        return float(text or "")
    except ValueError:
        return None
