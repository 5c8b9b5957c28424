"""The table of figure 2, 3 or 4, and its statistics: alignment joined to what the models can do."""

import argparse
import json
from pathlib import Path

import polars as pl

from prh import joins, tables
from prh.command import failing_in_one_sentence
from prh.ties import tied_models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", choices=["figure2", "figure3", "figure4"], help="which table")
    parser.add_argument("--spec", type=json.loads, required=True, help="rows to keep and options, as JSON")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs")
    parser.add_argument("--models", type=Path, required=True, help="table of models")
    parser.add_argument("--scores", type=Path, required=True, help="table of scores")
    parser.add_argument("--table", type=Path, required=True, help="table to write")
    parser.add_argument("--statistics", type=Path, required=True, help="table of statistics to write")
    arguments = parser.parse_args()

    best, models, scores = (
        pl.from_arrow(tables.read(path)) for path in (arguments.best, arguments.models, arguments.scores)
    )
    best = tables.selected(best, arguments.spec["where"])
    options = arguments.spec["options"]
    if arguments.figure != "figure2":
        options["parameters"] = dict(models.select("model", "parameters").drop_nulls().iter_rows())
    joined = getattr(joins, arguments.figure)(best, scores, **options)
    tied = tied_models(best)
    made_by = tables.provenance(**arguments.spec, missing=joined.missing, tied=tied)
    tables.write(joined.table.to_arrow(), arguments.table, made_by)
    tables.write(joined.statistics.to_arrow(), arguments.statistics, made_by)
    print(joined.statistics, f"left out: {', '.join(joined.missing) or 'none'}", sep="\n")
    print(f"neighbours largely drawn by lot: {', '.join(tied) or 'none'}")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
