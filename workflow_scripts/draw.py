"""Draw a figure from its tables: a module of prh.figures, as SVG and PNG."""

from importlib import import_module
from pathlib import Path

import polars as pl

from prh.experiment.arguments import ProgramParser
from prh.figures import style
from prh.io import tables
from prh.jobs.command import failing_in_one_sentence


def main() -> None:
    parser = ProgramParser(__doc__, spec="rows to keep, and further arguments of draw()")
    parser.add_argument("figure", help="module of prh.figures that draws it")
    parser.add_argument("--tables", nargs="+", required=True, metavar="NAME=PATH", help="tables, by argument of draw()")
    parser.add_argument("--tables-specs", nargs="*", default=[], metavar="NAME=DIGEST", help="of their settings")
    parser.add_argument("--output", type=Path, required=True, help="file to write: .svg, and .png beside it")
    arguments = parser.parse_args()

    settings, given = arguments.spec.settings, {}
    specs = dict(item.split("=", 1) for item in arguments.tables_specs)
    for name, path in (item.split("=", 1) for item in arguments.tables):
        footer = tables.require(path, spec=specs.get(name))
        given[name] = tables.selected(pl.from_arrow(tables.read(path)), settings.get("where", {}))
        for note in ("missing", "tied"):  # models without a score, and with many ties: named under the figure
            if footer.get(note) is not None:
                given[note] = footer[note]
    drawing = import_module(f"prh.figures.{arguments.figure}")
    style.save(drawing.draw(**given, **settings.get("options", {})), arguments.output)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
