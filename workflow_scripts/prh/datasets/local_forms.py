"""The forms that a data set on this machine may have, recognised by file names.

They are tried in this order: a file of metadata (metadata.jsonl, metadata.csv) for images or for texts alone, Parquet
files, and images in one folder per class. The module is quick to import, because it is used to check experiments.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prh.io import files, text_files
from prh.io.image_files import is_image_name

METADATA = ("metadata.jsonl", "metadata.csv")
FILE_NAME = "file_name"
"""Column of a file of metadata that names the image."""


class FormError(ValueError):
    """Data cannot be read in their form; the message names the file, the line and what to do."""


@dataclass(frozen=True)
class Form:
    """What a folder or file holds: at most one of ``metadata``, ``parquet`` and ``images`` is not empty."""

    metadata: Path | None = None
    parquet: tuple[Path, ...] = ()
    images: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    """Files beside images that are not images themselves."""


def form_of(root: Path) -> Form:
    """What the folder or file ``root`` holds, with its files in sorted order."""
    if root.is_file():
        return Form(metadata=root) if root.suffix in (".jsonl", ".csv") else Form(parquet=(root,))
    for name in METADATA:
        if (root / name).is_file():
            return Form(metadata=root / name)
    paths = sorted(files.walk(root, dead=True))
    if parquet := tuple(path for path in paths if path.suffix == ".parquet"):
        return Form(parquet=parquet)
    images = tuple(path for path in paths if is_image_name(path))
    return Form(images=images, others=tuple(path for path in paths if not is_image_name(path)))


def metadata_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows of a file of metadata, each with its line number.

    An empty cell of a CSV file is None. Raises FormError or TextError if the file cannot be read.
    """
    return _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(text_files.lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise FormError(f"{path}, line {number}: not JSON ({error.msg}).") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets nested too deep
            raise FormError(f"{path}, line {number}: not JSON that can be read ({str(error).split(';')[0]}).") from None
        if not isinstance(row, dict):
            raise FormError(
                f'{path}, line {number}: not a JSON object such as {{"file_name": "1.jpg", "text": "a cat"}}.'
            )
        yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    # strict, or else an unclosed quote would swallow the rest of the file
    reader = csv.reader((line + "\n" for line in text_files.lines(path)), strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names) or "" in names:
            raise FormError(f"{path}, line 1: every column needs a name of its own; the names are {', '.join(names)}.")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                raise FormError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells for {len(names)} columns; put texts "
                    "with commas in quotes."
                )
            yield reader.line_num, {name: cell or None for name, cell in zip(names, cells, strict=True)}
    except csv.Error as error:
        raise FormError(f"{path}, line {reader.line_num}: not CSV ({error}).") from None


def not_there(root: Path) -> set[str]:
    """The columns, "image" or "captions", that local data cannot have in their form.

    Images in folders have no captions, and a file of metadata that names no files has no images. The result is empty
    for data that cannot be read, so that the job that reads them reports it.
    """
    try:
        form = form_of(root)
        if form.metadata is not None:
            _, first = next(metadata_rows(form.metadata), (0, {FILE_NAME: None}))
            return set() if FILE_NAME in first or "image" in first else {"image"}
    except (ValueError, OSError):
        return set()
    return {"captions"} if form.images else set()
