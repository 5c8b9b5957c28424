"""The tables that a study reads, checked and as frames, by the arguments that take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from prh.io import tables

OF_ALIGNMENT = ("best", "rows", "sweep")
"""The tables of which a study is about some rows. (The metric of a score is another thing.)"""
NOTES = ("missing", "tied")
"""Facts of a study's footer that are told under its picture: models without a score, and with many ties."""


def frames(
    names: Sequence[str], paths: Sequence[Path], specs: Sequence[str], rows: Mapping[str, Any]
) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    """The tables at ``paths`` by name, several of one name as one, those of alignment cut to ``rows``; and their notes.

    ``specs`` are the digests of the settings that each must be made by, or none. Raises ValueError for lists of
    different lengths, and TableError (`prh.io.tables.require`) for a table that is not the one asked for.
    """
    parts: dict[str, list[pl.DataFrame]] = {}
    notes: dict[str, Any] = {}
    for name, path, spec in zip(names, paths, specs or [None] * len(paths), strict=True):
        about = {"model": path.stem} | {key: rows.get(key) for key in ("dataset", "metric")} if name == "rows" else {}
        footer = tables.require(path, spec=spec, **about)
        notes |= {note: footer[note] for note in NOTES if footer.get(note)}
        table = pl.from_arrow(tables.read(path))
        parts.setdefault(name, []).append(tables.selected(table, rows) if name in OF_ALIGNMENT else table)
    return {name: pl.concat(several) for name, several in parts.items()}, notes
