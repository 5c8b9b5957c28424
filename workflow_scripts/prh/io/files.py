"""Files between the stages: written atomically, locked against other processes, identified by their content."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of file systems without locks (some mounts of NFS and Lustre)."""
LONGEST_STEM = 200
"""Characters of a file name kept in the names of its temporary files; file systems allow 255 in all."""


class BusyError(ValueError):
    """Another process holds the lock that this one needs."""


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, remove it otherwise.

    Each writer has its own temporary file, so two writers of one file never mix their output: the later one wins. Files
    left behind by killed writers are removed by the next writer of the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path)
    part, held = _new_part(path)
    with held:
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _new_part(path: Path) -> tuple[Path, IO[bytes]]:
    """A new temporary file beside ``path``, locked while it is open so that nobody removes it as left over."""
    while True:
        part = path.with_name(f"{path.name[:LONGEST_STEM]}.{secrets.token_hex(4)}.part")
        held = part.open("xb")
        if lock(held, wait=False) and _is_still(part, held):
            return part, held
        held.close()  # another writer removed it before it was locked


def _remove_left_over(path: Path) -> None:
    """Remove temporary files of ``path`` whose writers are gone, because the kernel has released their locks."""
    for part in path.parent.glob(f"{glob.escape(path.name[:LONGEST_STEM])}.*.part"):
        with suppress(OSError), part.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Lock the file ``path``, created if absent, against other processes until the block or this process ends.

    The holder may replace or remove the file. On a file system without locks this does nothing. Raises BusyError if
    another process holds the lock, unless ``wait``.
    """
    while True:
        with path.open("a+b") as held:
            if not lock(held, wait=wait):
                raise BusyError(f"{path} is held by another process.")
            if _is_still(path, held):
                yield
                return


@contextmanager
def making(path: str | Path) -> Iterator[None]:
    """Be the only process that builds ``path`` from pieces that survive a kill (downloads, features, checkpoints).

    The lock file lies beside ``path`` for the duration of the block. Raises BusyError if another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:LONGEST_STEM]}.lock")
    with ExitStack() as held:
        try:
            held.enter_context(locked(beside, wait=False))
        except BusyError:
            raise BusyError(
                f"another process is making {path}; wait until it ends, or stop it, and run again."
            ) from None
        held.callback(beside.unlink, missing_ok=True)
        yield


def lock(stream: IO[bytes], *, wait: bool) -> bool:
    """Lock an open file until it is closed; returns whether it succeeded, True on a file system without locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _is_still(path: Path, stream: IO[bytes]) -> bool:
    """Whether an open file is still the one at ``path``, which may have been replaced while waiting for its lock."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_json(path: str | Path, content: Any, **options: Any) -> None:
    """Write ``content`` to ``path`` as JSON, whole or not at all; ``options`` are those of ``json.dumps``."""
    with writing(path) as part:
        part.write_text(json.dumps(content, indent=1, **options), encoding="utf-8")


def write_json_lines(path: str | Path, values: Iterable[Any]) -> None:
    """Write a JSON value in each line of ``path``, whole or not at all: what `read_json_lines` reads."""
    with writing(path) as part:
        part.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")


def read_json(path: str | Path, *keys: str) -> Any:
    """The content of a JSON file; if ``keys`` are given, it must be an object that has them.

    Raises ValueError, naming the file, if it is truncated, damaged or another kind of file.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder; a JSON file is expected there.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start:,}); it is damaged: {_REMEDY}.") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply; it is damaged: {_REMEDY}.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise ValueError(f"{path} is not JSON ({where}); it is cut off or damaged: {_REMEDY}.") from None
    except ValueError as error:  # a number of 5,000 digits
        raise ValueError(f"{path} is not JSON that can be read ({error}); it is damaged: {_REMEDY}.") from None
    if keys and not isinstance(content, dict):
        raise ValueError(f"{path} is not an object with {', '.join(keys)}; it is a different file: {_REMEDY}.")
    if missing := [key for key in keys if key not in content]:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it is damaged or from another version: {_REMEDY}.")
    return content


def read_json_lines(path: str | Path) -> list[Any]:
    """The values of a file with one JSON value per line; ValueError, naming file and line, for any other line."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start:,}); it is damaged: {_REMEDY}.") from None
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            raise ValueError(f"{path}, line {number}, is not JSON; it is cut off or damaged: {_REMEDY}.") from None
    return values


_REMEDY = "delete it and run snakemake again to recreate it"


def sha256(path: Path) -> str:
    """SHA-256 of the content of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def listing(root: Path) -> dict[str, dict[str, object]]:
    """{"bytes": size, "sha256": hash} of every file below ``root`` (or of the file ``root``), by relative path.

    Hidden files and folders (.git, a hub's .cache) are skipped. Raises ValueError if no file is left.
    """
    size_of = sizes(root)
    if not size_of:
        raise ValueError(f"{root} holds no file.")
    paths = [root if root.is_file() else root / name for name in size_of]
    with ThreadPoolExecutor() as pool:
        return {
            name: {"bytes": size, "sha256": digest}
            for (name, size), digest in zip(size_of.items(), pool.map(sha256, paths), strict=True)
        }


def sizes(root: Path) -> dict[str, int]:
    """Bytes of every file that ``listing`` would list, by relative path, without reading them."""
    if root.is_file():
        return {root.name: root.stat().st_size}
    return dict(sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in walk(root)))


_OF_SYSTEMS = {"__MACOSX", "@eaDir"}


def walk(root: Path, *, dead: bool = False) -> Iterator[Path]:
    """Yield the data files below a folder, in no particular order; with ``dead``, broken links too.

    Links to files and folders are followed, but never in circles. Files created by systems and editors are skipped:
    names that begin with a dot (.git, .ipynb_checkpoints, ._photo.jpg, a hub's .cache), __MACOSX and @eaDir.
    """
    return _walk(root, frozenset(), dead)


def _walk(folder: Path, above: frozenset[str], dead: bool) -> Iterator[Path]:
    here = os.path.realpath(folder)
    if here in above or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _OF_SYSTEMS:
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, above | {here}, dead)
            elif entry.is_file() or (dead and entry.is_symlink() and not os.path.exists(entry)):
                yield folder / entry.name


FILELESS = ("random", "python")
"""Sources of models that may have no files: random weights, and functions that need none."""


def fetched(path: Path, name: str | None = None, source: str | None = None) -> dict[str, Any]:
    """The record of a download (source.json, weights.json), after checking that its files are present and unchanged.

    A file of the right size that is newer than ``path`` is read to compare its hash. Raises ValueError if a file is
    missing or has changed, because computing jobs never download; and if ``path`` was written for another entry than
    ``name`` from ``source`` (None: not checked).
    """
    content = read_json(path, "source", "root", "files")
    for fact, wanted in (("name", name), ("source", source)):
        if wanted is not None and content.get(fact, wanted) != wanted:  # older records have no names
            raise ValueError(
                f"{path} was written for the {fact} {content[fact]!r}, not {wanted!r}: it is a different "
                f"file under this name: {_REMEDY}."
            )
    root = None if content["root"] is None else Path(content["root"])
    if not isinstance(content["files"], dict) or (
        root is None and (content["files"] or content["source"] not in FILELESS)
    ):
        raise ValueError(f"{path} does not say where its files are; it is damaged: {_REMEDY}.")
    status = path.stat()
    noted = max(status.st_mtime_ns, status.st_ctime_ns)
    for name, facts in content["files"].items():
        file = root if root.is_file() else root / name
        if state := _change(file, facts, noted):
            raise ValueError(
                f"{file} was downloaded but {state}; delete {path} and run snakemake again to download it."
            )
    return content


def _change(file: Path, facts: dict[str, Any], noted: int) -> str | None:
    """How a file has changed since its ``facts`` were recorded at time ``noted`` (ns); None if it has not."""
    if not file.is_file():
        return "is missing"
    status = file.stat()
    younger = max(status.st_mtime_ns, status.st_ctime_ns) > noted
    if status.st_size != facts["bytes"] or (younger and sha256(file) != facts["sha256"]):
        return "has changed"
    return None
