"""Samples, and how one is read from a row of a table: image, captions, labels, group and id, from any kind of source.

A row is a mapping from columns to plain Python values. A fault of a whole column (it is missing, holds structs, holds
lists of labels) raises DataError; a fault of one sample becomes its `Sample.fault`.
"""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prh.datasets.errors import DataError
from prh.io.image_files import MAX_BYTES

AUTO = "auto"
ID_COLUMNS = ("sample_id", "id")
"""Columns that hold the id of a sample unless its entry names another."""

Read = Callable[[str], tuple[bytes | None, str | None]]
"""Reads the file that a row names; returns (content, None), or (None, what is wrong with it)."""


@dataclass(frozen=True)
class Sample:
    """One sample as its source gives it; `image` is the encoded file, None if it is missing."""

    sample_id: str
    image: bytes | None
    path: str | None
    captions: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    group_id: str | None = None
    fault: str | None = None
    """What is wrong with it, as far as that shows while its source is read."""

    @property
    def bytes(self) -> int:
        """Approximate size in a shard."""
        return len(self.image or b"") + sum(4 * len(caption) for caption in self.captions)


@dataclass(frozen=True)
class SampleColumns:
    """The columns of the source that hold image, captions, labels, group and id (None: the source has none).

    A name such as ``sentences.raw`` reaches into structs: field raw of column sentences. A ``sample_id`` of "auto" uses
    the source's own id (`ID_COLUMNS` or file_name) or, if it has none, numbers the samples; None always numbers them.
    """

    image: str | None = "image"
    captions: str | None = "text"
    labels: tuple[str, ...] = ()
    group: str | None = None
    sample_id: str | None = AUTO

    def holding(self) -> list[tuple[str, str]]:
        """The names of the columns that must be there, with what each holds."""
        named = None if self.sample_id == AUTO else self.sample_id
        labels = [(name, "labels") for name in self.labels]
        known = [(self.image, "images"), (self.captions, "captions"), *labels, (self.group, "groups"), (named, "ids")]
        return [(name, what) for name, what in known if name is not None]

    def classes(self) -> list[str]:
        """The names of the columns that hold classes or groups."""
        return [*self.labels, *([] if self.group is None else [self.group])]

    def roots(self, available: Collection[str]) -> list[str]:
        """The ``available`` columns that have to be read, without repetition."""
        ids = ID_COLUMNS if self.sample_id == AUTO else ()
        return list(
            dict.fromkeys(
                root
                for name in (*(name for name, _ in self.holding()), *ids)
                if (root := root_of(name, available)) in available
            )
        )


def root_of(name: str, available: Collection[str]) -> str:
    """The column of a table that holds ``name``: itself if it is ``available``, otherwise the part before its dot."""
    return name if name in available else name.partition(".")[0]


def sample_of(
    row: Mapping[str, object], index: int, columns: SampleColumns, read: Read, where: str, names: Mapping | None = None
) -> Sample:
    """The sample in a row of a table.

    Parameters
    ----------
    row : mapping
        Values by column.
    index : int
        Number of the row in the source, from 0; the id of a sample without one.
    columns : SampleColumns
        Which columns hold what.
    read : callable
        Reads the file that a row names instead of holding the image.
    where : str
        How messages refer to the row, such as ``photos.parquet, row 3``.
    names : mapping, optional
        Names of the classes, for columns of labels or groups that hold class numbers (-1: no class).
    """
    sample_id, fault = _sample_id(row, index, columns, where)
    image, path, missing = None, None, None
    if columns.image is not None:
        image, path, missing = _image(value_at(row, columns.image, where, " with images"), columns.image, read, where)
    return Sample(
        sample_id=sample_id,
        image=image,
        path=path,
        captions=() if columns.captions is None else captions_of(row, columns.captions, where),
        labels=_labels(row, columns.labels, where, names or {}),
        group_id=None if columns.group is None else _class(row, columns.group, where, names or {}),
        fault=fault or missing,
    )


def require_columns(columns: SampleColumns, available: Collection[str], where: str) -> None:
    """Raise DataError, listing the ``available`` columns of a table, if one of ``columns`` is not among them."""
    for name, holding in columns.holding():
        if root_of(name, available) not in available:
            known = ", ".join(sorted(map(str, available))) or "none"
            raise DataError(f"{where}: no column '{name}' with {holding}; it has {known}.")


# ---- values ---------------------------------------------------------------------------------------------------


def value_at(row: Mapping[str, object], name: str, where: str, holding: str = "") -> object:
    """The value in a column, or in a field inside it. Raises DataError if there is no such column or field.

    Parameters
    ----------
    row : mapping
        Values by column.
    name : str
        A column, or a path such as ``sentences.raw``. In a list of structs, it gives the list of the field's values.
    where, holding : str
        For messages: the row, and what the column should hold.
    """
    column, _, rest = (name, "", "") if name in row else name.partition(".")
    if column not in row:
        raise DataError(f"{where}: no column '{name}'{holding}; it has {', '.join(sorted(map(str, row)))}.")
    return _field(row[column], rest.split(".") if rest else [], name, where)


def _field(value: object, fields: Sequence[str], name: str, where: str) -> object:
    if not fields or value is None:
        return value
    if isinstance(value, list):
        return [_field(item, fields, name, where) for item in value]
    if not isinstance(value, dict):
        raise DataError(f"{where}: '{name}' names the field {fields[0]} of a value without fields, {_kind(value)}.")
    if fields[0] not in value:
        raise DataError(f"{where}: no field {fields[0]} for '{name}'; there are {', '.join(map(str, value))}.")
    return _field(value[fields[0]], fields[1:], name, where)


def captions_of(row: Mapping[str, object], column: str, where: str) -> tuple[str, ...]:
    """The captions in a column: one for a text, one per element for a list, and "" for a missing one.

    Raises DataError for anything but text: structs (the message names their fields), numbers, lists of lists.
    """
    value = value_at(row, column, where, " with captions")
    return tuple(_caption(item, column, where) for item in (value if isinstance(value, list) else [value]))


def _caption(value: object, column: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if _is_missing(value):
        return ""
    if isinstance(value, dict):
        likely = next((name for name, content in value.items() if isinstance(content, str)), next(iter(value), "text"))
        raise DataError(
            f"{where}: column '{column}' holds structs with the fields {', '.join(map(str, value))}; name the one with "
            f"the captions, such as captions: {column}.{likely}."
        )
    raise DataError(f"{where}: column '{column}' should hold captions and holds {_kind(value)}.")


def _labels(row: Mapping, columns: Sequence[str], where: str, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    labels = {column: _class(row, column, where, names) for column in columns}
    return {column: label for column, label in labels.items() if label is not None}


def _class(row: Mapping, column: str, where: str, names: Mapping[str, Sequence[str]]) -> str | None:
    """The class or group in a column, by its name if ``names`` has it; None if there is none."""
    value = value_at(row, column, where)
    if names.get(column) is not None and isinstance(value, int):
        value = _class_name(value, names[column], column, where)
    return _text(value, column, where)


def _class_name(number: int, names: Sequence[str], column: str, where: str) -> str | None:
    """The name of a class by its number; None for -1, which means no class in the `datasets` library."""
    if not -1 <= number < len(names):
        raise DataError(f"{where}: column '{column}' holds class {number}, of {len(names)} classes.")
    return None if number == -1 else names[number]


def _text(value: object, column: str, where: str) -> str | None:
    """A class, group or id as text, the same for 1 and 1.0; None if it is missing or blank."""
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (bool, int, float, datetime.date)) and not (isinstance(value, float) and math.isinf(value)):
        return str(value)
    raise DataError(f"{where}: column '{column}' should hold one class, group or id and holds {_kind(value)}.")


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _kind(value: object) -> str:
    """A description of a value of the wrong type, for messages."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a struct with the fields {', '.join(map(str, value))}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    shown = repr(value)
    return f"the {type(value).__name__} {shown if len(shown) <= 40 else shown[:40] + '...'}"


def _sample_id(row: Mapping, index: int, columns: SampleColumns, where: str) -> tuple[str, str | None]:
    """The id of a row, and what is wrong with it."""
    number = f"{index:08d}"
    if columns.sample_id is None:
        return number, None
    if columns.sample_id == AUTO:
        ids = (_text(row[name], name, where) for name in ID_COLUMNS if name in row)
        return next((sample_id for sample_id in ids if sample_id is not None), number), None
    sample_id = _text(value_at(row, columns.sample_id, where, " with ids"), columns.sample_id, where)
    return (number, f"no id in column '{columns.sample_id}'") if sample_id is None else (sample_id, None)


# ---- images ---------------------------------------------------------------------------------------------------


def _image(value: object, column: str, read: Read, where: str) -> tuple[bytes | None, str | None, str | None]:
    """The encoded image in a cell, its path, and what is wrong with it.

    A cell holds bytes, the path of a file, a struct of both as the `datasets` library writes it (either may be
    missing), or a list of one of these.
    """
    if isinstance(value, list):
        if len(value) > 1:
            what = "numbers, not encoded images" if isinstance(value[0], (int, float, list)) else f"{len(value)} images"
            raise DataError(f"{where}: column '{column}' holds {what}; a sample has one image.")
        value = value[0] if value else None
    if isinstance(value, dict):
        if not {"bytes", "path"} & set(value):
            raise DataError(f"{where}: column '{column}' holds {_kind(value)}, not bytes or path of an image.")
        content, path = value.get("bytes"), value.get("path")
    else:
        content, path = (None, value) if isinstance(value, str) else (value, None)
    if _is_missing(content):
        content = None
    if content is not None and not isinstance(content, bytes):
        raise DataError(f"{where}: column '{column}' should hold images and holds {_kind(content)}.")
    path = path if isinstance(path, str) and path else None
    if content is not None or path is None:
        return content, path, None
    content, fault = read(path)
    return content, path, fault


def reader(home: Path, *bases: Path) -> Read:
    """A function that reads files by name, relative to the first of ``bases`` (default: ``home``) that has the file.

    It reads nothing outside the folder ``home``, neither by an absolute path nor by .. in a relative one. Links inside
    the folder are followed.
    """
    homes = [Path(os.path.abspath(home)), Path(os.path.realpath(home))]
    folders = [Path(os.path.abspath(base)) for base in bases] or homes[:1]

    def read(name: str) -> tuple[bytes | None, str | None]:
        if "://" in name:
            return None, f"image missing ({_short(name)} is an address; download it into the folder of the data set)"
        for folder in folders:
            path = Path(os.path.normpath(folder / name))
            if not any(path.is_relative_to(folder) for folder in homes):
                return None, f"image not read ({_short(name)} is outside the folder of the data set)"
            if os.path.isfile(path):  # also False for an impossible file name, for which Path.is_file raises
                return read_image(path)
        return None, f"image missing ({_short(name)} is not there)"

    return read


def read_image(path: Path) -> tuple[bytes | None, str | None]:
    """The content of an image file, or what is wrong with it: it is too large or cannot be opened."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None, f"image unreadable (it has {path.stat().st_size:,} bytes, more than {MAX_BYTES:,})"
        return path.read_bytes(), None
    except OSError as error:
        return None, f"image unreadable ({error.strerror})"


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")
