"""One table of the scores of all models: those measured here, and those published for them."""

from pathlib import Path

import polars as pl

from prh.competence import scores
from prh.experiment.arguments import ProgramParser, matched
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence

PRELOAD = ["scipy.stats", "sklearn.linear_model", "sklearn.isotonic"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="the hub's id of each model")
    parser.add_argument("--measured", nargs="*", type=Path, default=[], help="measured: .../{model}.parquet")
    parser.add_argument("--measured-specs", nargs="*", default=[], help="digests of their settings")
    parser.add_argument("--published", type=Path, required=True, help="CSV of published scores")
    parser.add_argument("--output", type=Path, required=True, help="table to write")
    arguments = parser.parse_args()

    for path, spec in matched(arguments.measured, arguments.measured_specs):
        tables.require(path, model=path.stem, spec=spec)
    published = scores.published_for(arguments.spec.settings["ids"], scores.published_scores(arguments.published))
    measured = [pl.from_arrow(tables.read(path)) for path in arguments.measured]
    table = scores.scores_table(pl.concat([*measured, published], how="diagonal"))
    tables.write(table, arguments.output, tables.provenance(**arguments.spec.provenance))
    print(pl.from_arrow(table))


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
