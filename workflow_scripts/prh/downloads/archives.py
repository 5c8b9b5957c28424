"""Archives written by others: unpacked completely, inside their folder and within bounds, or not at all."""

from __future__ import annotations

import logging
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prh.io import unpacking

HEADER = 512
"""Bytes that every member counts for besides its content, because a million empty files are a bomb as well."""
CHUNK = 2**20


log = logging.getLogger(__name__)


class ArchiveError(OSError):
    """An archive cannot be unpacked; the message says which one, why, and what to do."""


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar archive into ``folder`` and return it. The folder is complete, or absent after an error.

    Raises ArchiveError if the file is not a zip or tar archive, is damaged or encrypted, has a name or link that leads
    out of the folder, does not fit on the disk, or unpacks to suspiciously much (`prh.io.unpacking`).
    """
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with _in_one_sentence(archive):
            if zipfile.is_zipfile(archive):
                _unpack_zip(archive, part)
            elif tarfile.is_tarfile(archive):
                _unpack_tar(archive, part)
            else:
                raise ArchiveError(f"{archive} is neither a zip nor a tar archive.")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _unpack_zip(archive: Path, part: Path) -> None:
    """Unpack a zip. Its declared sizes can be trusted, because zipfile reads no more of a member than that."""
    allow = _allowance(archive, part)
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            if not (part / member.filename).resolve().is_relative_to(part.resolve()):
                raise ArchiveError(f"{archive} is not unpacked: {member.filename!r} would be outside the folder.")
            allow(member.file_size)
        content.extractall(part)


def _unpack_tar(archive: Path, part: Path) -> None:
    """Unpack a tar. Links come last and are checked once they exist, so that no file is ever written through one."""
    allow = _allowance(archive, part)
    links = []
    with tarfile.open(archive) as content:
        for member in content:
            allow(member.size)
            if member.issym():
                links.append(member)
            else:
                content.extract(member, part, filter="data")
        while rest := content.fileobj.read(CHUNK):  # the checksum of the compression comes after the end of the tar
            allow(len(rest))
        for member in links:
            if not _is_inside((part / member.name).parent, part):
                raise ArchiveError(f"{archive} is not unpacked: its link {member.name!r} would be outside the folder.")
            content.extract(member, part, filter="data")
        for member in links:
            if not (part / member.name).exists():
                log.warning("%s: its link %s leads nowhere and is left out", archive, member.name)
                (part / member.name).unlink(missing_ok=True)
            elif not _is_inside(part / member.name, part):
                raise ArchiveError(f"{archive} is not unpacked: its link {member.name!r} leads outside the folder.")


def _is_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(folder.resolve())
    except FileNotFoundError:  # not made yet: decided by the first parent that exists
        return path != folder and ".." not in path.parts and _is_inside(path.parent, folder)


def _allowance(archive: Path, part: Path) -> Callable[[int], None]:
    """A function to call with the size of each member; it raises ArchiveError when they add up to too much."""
    packed, room, unpacked = archive.stat().st_size, shutil.disk_usage(part).free, 0

    def allow(size: int) -> None:
        nonlocal unpacked
        unpacked += HEADER + size
        if unpacking.is_bomb(packed, unpacked):
            raise ArchiveError(
                f"{archive} is not unpacked: {unpacking.refusal(packed, unpacked)}; if you trust it, unpack it "
                "yourself and name its folder with source: local."
            )
        if unpacked > room:
            raise ArchiveError(f"{archive} is not unpacked: it needs {unpacked:,} bytes and {part} has {room:,}.")

    return allow


@contextmanager
def _in_one_sentence(archive: Path) -> Iterator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except tarfile.FilterError as error:
        raise ArchiveError(f"{archive} is not unpacked: {error}.") from None
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
        raise ArchiveError(f"{archive} is not unpacked: {error}; pack it again as a plain zip.") from None
    except OSError as error:
        raise ArchiveError(f"{archive} is not unpacked: {error.strerror or error}.") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise ArchiveError(f"{archive} is a damaged archive: {error}.") from None
