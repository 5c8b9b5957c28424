"""Draw a figure from its tables: a module of prh.figures, as SVG and PNG."""

import argparse
import json
from importlib import import_module
from pathlib import Path

import polars as pl

from prh import tables
from prh.command import failing_in_one_sentence
from prh.figures import style


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", help="module of prh.figures that draws it")
    parser.add_argument("--tables", nargs="+", required=True, metavar="NAME=PATH", help="tables, by argument of draw()")
    parser.add_argument("--where", type=json.loads, default={}, help="column values to keep, as JSON")
    parser.add_argument("--options", type=json.loads, default={}, help="further arguments of draw(), as JSON")
    parser.add_argument("--output", type=Path, required=True, help="file to write: .svg, and .png beside it")
    arguments = parser.parse_args()

    given = {}
    for name, path in (item.split("=", 1) for item in arguments.tables):
        given[name] = tables.selected(pl.from_arrow(tables.read(path)), arguments.where)
        footer = tables.made_by(path)
        for note in ("missing", "tied"):  # models without a score, and with many ties: named under the figure
            if footer.get(note) is not None:
                given[note] = footer[note]
    drawing = import_module(f"prh.figures.{arguments.figure}")
    style.save(drawing.draw(**given, **arguments.options), arguments.output)


if __name__ == "__main__":
    with failing_in_one_sentence():
        main()
