"""The programs of the workflow in this process: what they raise is seen, and libraries are imported once."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest import mock

from prh.io import tables

FOLDER = Path(tables.__file__).parents[2]
ABOUT_THE_MACHINE = {"prh", "libraries", "code"}
"""What the footer of a table says besides what it was made for."""


def run(name: str, *arguments: object) -> None:
    """Run ``name``.py with ``arguments``, lists among which are several; raises what its work raises."""
    flat = [str(word) for part in arguments for word in (part if isinstance(part, list) else [part])]
    with quietly(), mock.patch.object(sys, "argv", [f"{name}.py", *flat]), mock.patch.dict(os.environ):
        _program(name).main()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


@cache
def _program(name: str) -> ModuleType:
    """The program as a module that calls itself __main__, as when it is started."""
    spec = importlib.util.spec_from_file_location(f"program_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__name__ = "__main__"
    return module


def content(path: Path) -> str:
    """A digest of all that a table, or another file, says: the same for the same numbers."""
    if path.suffix != ".parquet":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    footer = {key: value for key, value in tables.made_by(path).items() if key not in ABOUT_THE_MACHINE}
    return digest([footer, tables.read(path).to_pydict()])


def digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def contents(paths: Iterable[Path]) -> list[str]:
    return [content(path) for path in paths]
