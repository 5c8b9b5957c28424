"""Files as the stages leave them: complete or absent, and known by their content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; rename it to ``path`` if the block ends well, remove it if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hash of a file's content, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def listing(root: Path) -> dict[str, dict[str, object]]:
    """{"bytes": size, "sha256": hash} of every file below ``root`` (or of the file ``root``), by relative path.

    Hidden files and folders (.git, a hub's .cache) are left out. Raises ValueError where nothing is left.
    """
    found = sizes(root)
    if not found:
        raise ValueError(f"{root} holds no file.")
    paths = [root if root.is_file() else root / name for name in found]
    with ThreadPoolExecutor() as pool:
        return {
            name: {"bytes": size, "sha256": digest}
            for (name, size), digest in zip(found.items(), pool.map(sha256, paths), strict=True)
        }


def sizes(root: Path) -> dict[str, int]:
    """Bytes of every file below ``root`` (or of the file ``root``), by relative path, as in ``listing`` but unread."""
    if root.is_file():
        return {root.name: root.stat().st_size}
    return dict(sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in walk(root)))


def walk(root: Path) -> Iterator[Path]:
    """The files below a folder that are part of what it holds, in no order.

    Links to files and folders are followed, but never in circles. Left out is what systems and editors put there:
    names that begin with a dot (.git, .ipynb_checkpoints, ._photo.jpg, a hub's .cache) and __MACOSX.
    """
    return _walk(root, frozenset())


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    here = os.path.realpath(folder)
    if here in above or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, above | {here})
            elif entry.is_file():
                yield folder / entry.name


def fetched(path: Path) -> dict[str, Any]:
    """What a download wrote of itself (source.json, weights.json), after a look at its files: all there, of their size.

    Raises ValueError where one is not: jobs that compute do not fetch what is missing.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    root = None if content["root"] is None else Path(content["root"])
    for name, facts in content["files"].items():
        file = root if root.is_file() else root / name
        if not file.is_file() or file.stat().st_size != facts["bytes"]:
            state = "has changed" if file.is_file() else "is not there"
            raise ValueError(f"{file} was fetched and {state}; delete {path} and run snakemake again to fetch it.")
    return content
