"""The scores of all layer pairs of one model pair: a named one, or the vision and language pair that aligns most."""

import argparse
import json
from pathlib import Path

import polars as pl

from prh import comparisons, tables
from prh.command import failing_in_one_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", type=json.loads, required=True, help="dataset, metric and k, as JSON")
    parser.add_argument("--pair", nargs=2, metavar="MODEL", help="the two models; by default the strongest pair")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs")
    parser.add_argument("--rows", nargs="+", type=Path, required=True, help="tables of all layer pairs")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()

    best = tables.selected(pl.from_arrow(tables.read(arguments.best)), arguments.where)
    pair = arguments.pair or comparisons.strongest_pair(best)
    rows = pl.concat(pl.from_arrow(tables.read(path)) for path in arguments.rows)
    scores = comparisons.layer_scores(tables.selected(rows, {"k": arguments.where["k"]}), *pair)
    tables.write(scores.to_arrow(), arguments.output, tables.provenance(pair=pair, **arguments.where))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
