"""Reads and checks the tables of a study, keyed by the arguments that they are passed to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from prh.alignment.rows import with_models
from prh.io import tables
from prh.io.names import AT
from prh.jobs.about import about

OF_ALIGNMENT = ("best", "rows", "sweep")
"""Tables that are cut to the rows of a target. The scores are not: their column metric means something else."""
NOTES = ("missing", "tied")
"""Facts in the footer of a study that are printed below its figure: models without a score, and with many ties."""


def frames(
    names: Sequence[str],
    paths: Sequence[Path],
    specs: Sequence[str],
    rows: Mapping[str, Any],
    *,
    checkpoints: bool = False,
) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    """(frames by name, notes) of the tables at ``paths``.

    Tables with the same name are concatenated, and alignment tables are cut to ``rows``. Those called ``rows`` must be
    the rows of a data set's models in the order of the experiment, and are cut to their pairs. ``specs`` are the
    digests of the settings that must have made each table; empty for no check. Rows about the
    checkpoints of training runs are left out unless ``checkpoints`` is true. Raises ValueError for lists of different
    lengths, and TableError (`prh.io.tables.require`) for a table other than the required one.
    """
    parts: dict[str, list[pl.DataFrame]] = {}
    notes: dict[str, Any] = {}
    grid: dict[str, pl.DataFrame] = {}
    for name, path, spec in zip(names, paths, specs or [None] * len(paths), strict=True):
        wanted = {"model": path.stem} | {key: rows.get(key) for key in ("dataset", "metric")} if name == "rows" else {}
        with about(str(path)):
            footer = tables.require(path, spec=spec, **wanted)
            notes |= {note: footer[note] for note in NOTES if footer.get(note)}
            table = pl.from_arrow(tables.read(path))
            if not checkpoints:
                of = [column for column in ("model", "model_x", "model_y") if column in table.columns]
                table = table.filter(~pl.any_horizontal(pl.col(of).str.contains(AT, literal=True)))
            if name in OF_ALIGNMENT:
                table = tables.selected(table, rows)
            if name == "rows":
                earlier = [*grid]
                grid[path.stem] = table
                table = with_models(grid, path.stem, earlier)
            parts.setdefault(name, []).append(table)
    return {name: pl.concat(frames_of_name) for name, frames_of_name in parts.items()}, notes
