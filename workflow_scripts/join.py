"""The table of figure 2, 3 or 4, and its statistics: alignment joined to what the models can do."""

from pathlib import Path

import polars as pl

from prh.core.ties import tied_models
from prh.experiment.arguments import ProgramParser
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence
from prh.studies import joins


def main() -> None:
    parser = ProgramParser(__doc__, spec="rows to keep and options")
    parser.add_argument("figure", choices=["figure2", "figure3", "figure4"], help="which table")
    parser.add_argument("--best", type=Path, required=True, help="table of best layer pairs")
    parser.add_argument("--models", type=Path, required=True, help="table of models")
    parser.add_argument("--scores", type=Path, required=True, help="table of scores")
    parser.add_argument("--best-spec", help="digest of the settings of the tables of models and layer pairs")
    parser.add_argument("--scores-spec", help="digest of the settings of the table of scores")
    parser.add_argument("--table", type=Path, required=True, help="table to write")
    parser.add_argument("--statistics", type=Path, required=True, help="table of statistics to write")
    arguments = parser.parse_args()

    for path in (arguments.best, arguments.models):
        tables.require(path, spec=arguments.best_spec)
    tables.require(arguments.scores, spec=arguments.scores_spec)
    best, models, scores = (
        pl.from_arrow(tables.read(path)) for path in (arguments.best, arguments.models, arguments.scores)
    )
    best = tables.selected(best, arguments.spec.settings["where"])
    options = dict(arguments.spec.settings["options"])
    if arguments.figure != "figure2":
        options["parameters"] = dict(models.select("model", "parameters").drop_nulls().iter_rows())
    joined = getattr(joins, arguments.figure)(best, scores, **options)
    tied = tied_models(best)
    made_by = tables.provenance(**arguments.spec.provenance, missing=joined.missing, tied=tied)
    tables.write(joined.table.to_arrow(), arguments.table, made_by)
    tables.write(joined.statistics.to_arrow(), arguments.statistics, made_by)
    print(joined.statistics, f"left out: {', '.join(joined.missing) or 'none'}", sep="\n")
    print(f"neighbours largely drawn by lot: {', '.join(tied) or 'none'}")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
