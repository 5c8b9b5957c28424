"""Downloading files into a folder, complete and checked, or not at all.

A file gets its name only once its size and hash are right. An interrupted download is kept under a hidden name and
continued by the next attempt, also in the next run. huggingface_hub itself starts every file again in a new process,
which is why only its listings and connections are used here.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from huggingface_hub import constants
from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff, httpx

from prh.downloads.failures import FetchError, WrongBytes, persistently
from prh.io import files
from prh.io.addresses import redacted
from prh.jobs.progress import Progress

PARALLEL = 4
"""Number of files that are downloaded at the same time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its path below the root of its source, its address, and what is known of its content."""

    path: str
    url: str
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    git_sha1: str | None = None
    """Git's hash of the content, for small files that the hub keeps in git itself."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str | None:
        """The hash that the content must have; None if it is not known."""
        return self.sha256 or self.git_sha1

    def is_whole(self, path: Path) -> bool:
        """Whether the file at ``path`` has the known size and hash."""
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return self.digest is None or self.digest == self.digest_of(path)

    def digest_of(self, path: Path) -> str:
        """The hash of the file at ``path``, of the same kind as `digest`."""
        if self.git_sha1 is None:
            return files.sha256(path)
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def fetch_all(wanted: list[RemoteFile], folder: Path, title: str | None) -> None:
    """Download the files that ``folder`` lacks, small ones first, so that a refusal or a full disk shows early.

    ``title`` names the source in the log. Raises FetchError if a file cannot be had or the disk has no room for all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for file in sorted(wanted, key=lambda file: file.size or 0):
        target = folder / file.path
        if target.is_file() and file.digest is not None and file.is_whole(target):
            continue
        target.unlink(missing_ok=True)
        missing.append(file)
    _check_room(missing, folder)
    total = sum(file.size or 0 for file in missing)
    if title and total:
        log.info("%s: %s to download", title, human(total))
    stopped = Event()
    with (
        files.making(folder),  # two processes must not continue the same partial file
        Progress("download", total, "B", scaled=True) as progress,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):

        def advance(count: int) -> None:
            if stopped.is_set():
                raise FetchError("stopped because another file failed")
            progress.advance(count)

        futures = [pool.submit(_fetch_file, file, folder, advance) for file in missing]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stopped.set()  # else the pool would wait for running downloads, possibly for hours
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_room(missing: Iterable[RemoteFile], folder: Path) -> None:
    here = sum(part.stat().st_size for file in missing if (part := _part(file, folder)).is_file())
    needed, free = sum(file.size or 0 for file in missing) - here, shutil.disk_usage(folder).free
    if needed > free:
        raise FetchError(
            f"the download needs {human(needed)} and {folder} has {human(free)} free; make room, or set 'results' to a "
            "folder on a larger disk."
        )


def _part(file: RemoteFile, folder: Path) -> Path:
    """The hidden path of a partial download.

    It depends on the content, so that another version is never continued, and on the path, since two files of a folder
    may have the same content.
    """
    key = hashlib.sha256(f"{file.path}\n{file.digest or redacted(file.url)}".encode()).hexdigest()[:16]
    return (folder / file.path).with_name(f".{key}.part")


def _fetch_file(file: RemoteFile, folder: Path, advance: Callable[[int], object]) -> None:
    target, part = folder / file.path, _part(file, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    version = part.with_suffix(".version")
    if file.digest is None and not version.is_file():
        part.unlink(missing_ok=True)  # without a hash or version, the rest may not belong to this part
    continued = _size(part) > 0
    advance(_size(part))
    if file.size is None or _size(part) < file.size or not continued:
        persistently(lambda: _stream(file, part, version, advance), growing=lambda: _size(part))
    if not file.is_whole(part):
        outcome = f"{file.path} from {redacted(file.url)} has {_size(part):,} bytes and hash {file.digest_of(part)}"
        part.unlink()
        if continued:
            log.warning("%s, which is wrong; downloading it again.", outcome)
            return _fetch_file(file, folder, advance)
        expected = "" if file.size is None else f" instead of {file.size:,} and {file.digest}"
        raise WrongBytes(f"{outcome}{expected}; it was deleted")
    part.replace(target)
    version.unlink(missing_ok=True)
    return None


def _stream(file: RemoteFile, part: Path, version: Path, advance: Callable[[int], object]) -> None:
    """Append what is missing to ``part``, or start again if the server cannot continue or has a new version."""
    have = _size(part)
    headers = {**file.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if file.digest is None:
            headers["If-Range"] = version.read_text(encoding="utf-8")
    with http_stream_backoff(
        "GET",
        file.url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        max_retries=0,
        retry_on_exceptions=(),
        retry_on_status_codes=(),
    ) as response:
        if response.status_code == 416:  # nothing left to send: it is complete, or its hash will not fit
            return
        hf_raise_for_status(response)
        if file.digest is None and not _tells_its_end(response):
            raise FetchError(
                f"{redacted(file.url)} cannot be fetched: its server does not say how long it is, so a broken "
                "connection would look like its end; set 'sha256' of its entry."
            )
        if have and response.status_code != 206:
            advance(-have)
        _note_version(response, file, version)
        with part.open("ab" if response.status_code == 206 else "wb") as stream:
            for chunk in response.iter_bytes():  # written as they arrive, so that an interruption keeps them
                stream.write(chunk)
                advance(len(chunk))


def _tells_its_end(response: httpx.Response) -> bool:
    """Whether a connection that breaks can be distinguished from one that ends."""
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return chunked or "Content-Length" in response.headers


def _note_version(response: httpx.Response, file: RemoteFile, version: Path) -> None:
    """Record which version of a file is being downloaded, if its hash is not known."""
    etag = response.headers.get("ETag", "")
    strong = etag if not etag.startswith("W/") else ""
    if file.digest is None and (validator := strong or response.headers.get("Last-Modified")):
        version.write_text(validator, encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def human(count: float) -> str:
    """A number of bytes in a readable unit, such as 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
