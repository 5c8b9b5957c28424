"""Print the results of the idealised world and the paths of its figures."""

import argparse
from pathlib import Path

import polars as pl

from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.world import convergence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results of the experiment")
    parser.add_argument("--dataset", default="world", help="data set of the world")
    parser.add_argument("--control", default="shuffled", help="its twin with shuffled captions")
    arguments = parser.parse_args()

    best, scores = (
        pl.from_arrow(tables.read(arguments.results / "tables" / name))
        for name in ("alignment.parquet", "scores.parquet")
    )
    first = dict(zip(("metric", "k"), best.select("metric", "k").row(0), strict=True))
    world, control = (
        tables.selected(best, {"dataset": name, **first}) for name in (arguments.dataset, arguments.control)
    )
    print(*convergence.report(world, scores, control), sep="\n")
    print(f"The figures are in {arguments.results}/figures, the tables behind them in {arguments.results}/tables.")


if __name__ == "__main__":
    with failing_in_one_sentence(job=False):
        main()
