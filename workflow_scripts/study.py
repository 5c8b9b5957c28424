"""The table of a study, and its statistics if it has any."""

from pathlib import Path

from prh.experiment.arguments import ProgramParser
from prh.io import tables
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence
from prh.studies import known, reading

PRELOAD = ["scipy.stats", "sklearn.linear_model", "sklearn.isotonic", "umap"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="the study, the rows that it is about, and its choices")
    parser.add_tables()
    parser.add_argument("--table", type=Path, required=True, help="table to write")
    parser.add_argument("--statistics", type=Path, help="table of statistics to write")
    arguments = parser.parse_args()

    settings = arguments.spec.settings
    study = known()[settings["study"]]
    frames, _ = reading.frames(
        arguments.reads, arguments.tables, arguments.tables_specs, settings["rows"], checkpoints=study.checkpoints
    )
    result = resolved(study.table)(**frames, **settings["options"])
    made_by = tables.provenance(**arguments.spec.provenance, missing=list(result.missing), tied=list(result.tied))
    tables.write(result.table.to_arrow(), arguments.table, made_by)
    if arguments.statistics is not None:
        tables.write(result.statistics.to_arrow(), arguments.statistics, made_by)
        print(result.statistics)
    print(f"left out: {', '.join(result.missing) or 'none'}")
    print(f"neighbours largely drawn by lot: {', '.join(result.tied) or 'none'}")


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
