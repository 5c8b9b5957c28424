"""Do the metrics rank the model pairs alike? Spearman correlations between metrics."""

import argparse
import json
from pathlib import Path

import polars as pl

from prh import joins, tables
from prh.command import failing_in_one_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", type=json.loads, required=True, help="rows to keep, as JSON")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()

    best = tables.selected(pl.from_arrow(tables.read(arguments.best)), arguments.where)
    found = joins.metric_correlations(best)
    tables.write(found.to_arrow(), arguments.output, tables.provenance(**arguments.where))
    print(found)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
