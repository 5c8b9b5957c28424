"""One table of what the models can do: what was measured here, and what is published for models of the experiment."""

import argparse
import json
from pathlib import Path

import polars as pl

from prh import joins, tables
from prh.command import failing_in_one_sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=json.loads, required=True, help="JSON: the hub's id of each model")
    parser.add_argument("--measured", nargs="*", type=Path, default=[], help="tables of measured scores")
    parser.add_argument("--published", type=Path, required=True, help="CSV of published scores")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()

    published = joins.published_for(arguments.models, joins.published_scores(arguments.published))
    measured = [pl.from_arrow(tables.read(path)) for path in arguments.measured]
    scores = joins.scores_table(pl.concat([*measured, published], how="diagonal"))
    tables.write(scores, arguments.output, tables.provenance())
    print(pl.from_arrow(scores))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
