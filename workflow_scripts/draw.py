"""Draw a picture of a study from its tables, as SVG and PNG."""

from pathlib import Path

from prh.experiment.arguments import ProgramParser
from prh.figures import style
from prh.io.functions import resolved
from prh.jobs.command import failing_in_one_sentence
from prh.studies import known, reading

PRELOAD = ["matplotlib.pyplot"]


def main() -> None:
    parser = ProgramParser(__doc__, spec="the study, and how it is drawn")
    parser.add_tables()
    parser.add_argument("--output", type=Path, required=True, help="file to write: .svg, and .png beside it")
    arguments = parser.parse_args()

    settings = arguments.spec.settings
    study, rows = known()[settings["study"]], settings.get("rows", {})
    frames, notes = reading.frames(
        arguments.reads, arguments.tables, arguments.tables_specs, rows, checkpoints=study.checkpoints
    )
    draw = resolved(study.draw)
    style.save(draw(**frames, **notes, **settings["options"]), arguments.output)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
