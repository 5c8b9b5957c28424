"""Time and memory of the jobs of an experiment, from the benchmark files that Snakemake writes beside each."""

from __future__ import annotations

from pathlib import Path

import polars as pl

SCHEMA = {
    "stage": pl.String,
    "job": pl.String,
    "seconds": pl.Float64,
    "cpu_seconds": pl.Float64,
    "peak_mb": pl.Float64,
}


def collect(folder: Path) -> pl.DataFrame:
    """One row per job below ``folder``, {stage}/{job}.tsv (schema SCHEMA): the last time it ran.

    peak_mb is the largest resident memory of the job and its children, 0 for one too short to be looked at. A file
    without a line of numbers, as a job killed at its end may leave, is left out.
    """
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        table = pl.read_csv(path, separator="\t", infer_schema=False)
        if table.height == 0 or not {"s", "cpu_time", "max_rss"} <= set(table.columns):
            continue
        place = path.relative_to(folder).with_suffix("")
        last = table.row(-1, named=True)
        measured = [_number(last[name]) for name in ("s", "cpu_time", "max_rss")]
        rows.append((place.parts[0], place.relative_to(place.parts[0]).as_posix(), *measured))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def by_stage(timings: pl.DataFrame) -> pl.DataFrame:
    """For each stage its jobs, their seconds in all, the longest of them, and the highest peak; the dearest first."""
    return (
        timings.group_by("stage")
        .agg(
            jobs=pl.len(),
            seconds=pl.sum("seconds"),
            cpu_seconds=pl.sum("cpu_seconds"),
            longest=pl.max("seconds"),
            peak_mb=pl.max("peak_mb"),
        )
        .sort("seconds", "stage", descending=[True, False])
    )


def _number(text: str | None) -> float | None:
    """None for what Snakemake could not measure (NA or -)."""
    try:
        return float(text or "")
    except ValueError:
        return None
