"""Collect time and peak memory of all jobs so far into a table, and print them by stage."""

import argparse
from pathlib import Path

import polars as pl

from prh.io import tables
from prh.jobs import timings
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timings", type=Path, required=True, help="folder of the times that Snakemake took")
    parser.add_argument("--logs", type=Path, required=True, help="folder of the logs")
    parser.add_argument("--output", type=Path, required=True, help="table to write, a row per job")
    arguments = parser.parse_args()
    jobs = timings.collect(arguments.timings, arguments.logs)
    tables.write(jobs.to_arrow(), arguments.output, tables.provenance())
    with pl.Config(tbl_rows=-1, tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, float_precision=1):
        print(f"Time and peak memory by stage ({arguments.output}):\n{timings.by_stage(jobs)}")
    timed = jobs.filter(pl.col("work_seconds").is_not_null())
    if seconds := timed["seconds"].sum():
        print(f"{timed['work_seconds'].sum() / seconds:.0%} of the seconds are work, the rest the start of each job.")


if __name__ == "__main__":
    with failing_in_one_sentence(job=False):
        main()
