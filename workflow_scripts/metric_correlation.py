"""Do the metrics rank the model pairs alike? Spearman correlations between metrics."""

from pathlib import Path

import polars as pl

from prh.experiment.arguments import ProgramParser
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.studies import joins


def main() -> None:
    parser = ProgramParser(__doc__, spec="rows to keep")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs")
    parser.add_argument("--best-spec", help="digest of its settings")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()

    tables.require(arguments.best, spec=arguments.best_spec)
    best = tables.selected(pl.from_arrow(tables.read(arguments.best)), arguments.spec.settings["where"])
    found = joins.metric_correlations(best)
    tables.write(found.to_arrow(), arguments.output, tables.provenance(**arguments.spec.provenance))
    print(found)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
