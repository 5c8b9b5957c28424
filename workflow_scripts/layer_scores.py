"""The scores of all layer pairs of one model pair: a named one, or the vision and language pair that aligns most."""

from pathlib import Path

import polars as pl

from prh.alignment import comparisons
from prh.experiment.arguments import ProgramParser
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="dataset, metric and k, and the pair of models (none: the strongest)")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs")
    parser.add_argument("--best-spec", help="digest of its settings")
    parser.add_argument("--rows", nargs="+", type=Path, required=True, help="all layer pairs: .../{model}.parquet")
    parser.add_argument("--rows-spec", help="digest of their settings")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()

    where = arguments.spec.settings["where"]
    tables.require(arguments.best, spec=arguments.best_spec)
    for path in arguments.rows:
        tables.require(
            path, model=path.stem, dataset=where["dataset"], metric=where["metric"], spec=arguments.rows_spec
        )
    best = tables.selected(pl.from_arrow(tables.read(arguments.best)), where)
    pair = arguments.spec.settings["pair"] or comparisons.strongest_pair(best)
    rows = pl.concat(pl.from_arrow(tables.read(path)) for path in arguments.rows)
    scores = comparisons.layer_scores(tables.selected(rows, {"k": where["k"]}), *pair)
    tables.write(scores.to_arrow(), arguments.output, tables.provenance(**arguments.spec.provenance, pair=pair))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
