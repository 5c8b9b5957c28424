"""Fetching from the Hugging Face hub and from the web: whole and checked files, or one sentence that says why not.

A file takes its name only when its size and hash are right. What a broken download leaves is kept under a hidden name
and continued by the next attempt, be it of the next run; huggingface_hub itself starts every file anew in every
process, which is why only its listings and connections are used here.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TypeVar
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, http_stream_backoff, httpx

from prh.downloads.lockfile import Lock
from prh.io import files
from prh.io.addresses import redacted, redacted_text, revealed
from prh.jobs.progress import Progress

ATTEMPTS = 6
"""How often in a row something is tried that brings nothing."""
WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second attempt, doubled before each further one, and the most."""
PARALLEL = 4
"""Files that are downloaded at once."""
COMMIT = re.compile("[0-9a-f]{40}")
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})

T = TypeVar("T")
log = logging.getLogger(__name__)


class FetchError(OSError):
    """Something could not be fetched; the message says what, why, and what to do."""


@dataclass(frozen=True)
class RemoteFile:
    """A file elsewhere: its path below the root of its source, its address, and what is known of its content."""

    path: str
    url: str
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    git_sha1: str | None = None
    """Git's name of the content: of files so small that the hub keeps them in git itself."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str | None:
        """The hash that the content must have, if one is known."""
        return self.sha256 or self.git_sha1

    def is_whole(self, path: Path) -> bool:
        """Whether the file at ``path`` has the size and the hash that are known."""
        if self.size is not None and path.stat().st_size != self.size:
            return False
        return self.digest is None or self.digest == self.digest_of(path)

    def digest_of(self, path: Path) -> str:
        """The hash of the file at ``path``, of the kind that is known of this file."""
        if self.git_sha1 is None:
            return files.sha256(path)
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


# ---- the hub --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """A repository of the hub at one commit: what is there, before anything is downloaded."""

    repository: str
    kind: str
    commit: str
    files: dict[str, RemoteFile]

    def bytes_of(self, names: Iterable[str]) -> int:
        """The size of some of its files together."""
        return sum(self.files[name].size or 0 for name in names)

    def fetch(self, names: Iterable[str], folder: Path) -> None:
        """Download the files ``names`` into ``folder``, which then holds these and no others. FetchError if not all."""
        names = set(names)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if not hidden and path.relative_to(folder).as_posix() not in names:
                log.info("removing %s, which is not among the files needed", path)
                path.unlink()
        title = f"{self.repository} at {self.commit[:12]}"
        log.info("%s: %d files, %s, of %d there", title, len(names), human(self.bytes_of(names)), len(self.files))
        with in_one_sentence(self.repository, self.kind):
            _fetch_all([self.files[name] for name in sorted(names)], folder, title)

    def fetch_file(self, name: str, folder: Path) -> Path:
        """Download one file, whatever else is in ``folder``; returns its path."""
        with in_one_sentence(self.repository, self.kind):
            _fetch_all([self.files[name]], folder, None)
        return folder / name


def find(
    repository: str,
    *,
    kind: str = "model",
    revision: str | None = None,
    lock: Lock | None = None,
    attempts: int = ATTEMPTS,
) -> Snapshot:
    """Look a repository of the hub up: which commit is meant, and which files it has.

    ``kind`` is model or dataset. ``revision``: a commit is taken as it is; for a branch or tag (None: the main branch)
    the commit that ``lock`` holds, and if it holds none the present one, which it holds from now on.
    """
    lock = lock or Lock()
    if revision is not None and COMMIT.fullmatch(revision):
        return _snapshot(repository, kind, revision, revision, attempts)
    locked, head = locked_and_head(repository, kind, revision, lock, attempts)
    commit = locked or head
    if head not in (None, commit):
        log.warning(
            "%s has moved from %s to %s since it was locked in %s; the locked commit is used.",
            *(repository, commit, head, lock.path),
        )
    snapshot = _snapshot(repository, kind, commit, f"{commit} (named in {lock.path})" if locked else commit, attempts)
    lock.keep(_source(repository, revision), revision=commit)
    return snapshot


def peek(repository: str, *, kind: str, revision: str | None, lock: Lock) -> tuple[Snapshot, str]:
    """The commit that `find` would take, without locking it; and whether it is locked, and has moved on since."""
    locked, head = locked_and_head(repository, kind, revision, lock)
    commit = locked or head
    note = "locked" if locked else ""
    if locked and head not in (None, locked):
        note = f"locked; has moved on to {head[:12]}"
    return _snapshot(repository, kind, commit, commit, attempts=1), note


def locked_and_head(
    repository: str, kind: str, revision: str | None, lock: Lock, attempts: int = 1
) -> tuple[str | None, str | None]:
    """The commit that is locked (None: none is), and that at which the branch ``revision`` is now.

    A commit is at itself. The second is None where it cannot be told and a locked one stands in: else FetchError.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return None, revision
    locked = lock.held(_source(repository, revision))
    try:
        with in_one_sentence(repository, kind, revision):
            return locked, _persistently(
                lambda: HfApi().repo_info(repository, repo_type=kind, revision=revision).sha, attempts
            )
    except FetchError as error:
        if locked is None:
            raise
        log.warning("%s: whether it has moved on since it was locked is not known: %s", repository, error)
        return locked, None


def is_reachable(timeout: float = 10) -> bool:
    """Whether the hub answers."""
    try:
        get_session().head(constants.ENDPOINT, timeout=timeout)
    except (httpx.RequestError, OfflineModeIsEnabled):
        return False
    return True


def _source(repository: str, branch: str | None) -> dict[str, str]:
    """What a lock file calls a repository."""
    return {"id": repository} | ({"branch": branch} if branch else {})


def _snapshot(repository: str, kind: str, commit: str, shown: str, attempts: int) -> Snapshot:
    with in_one_sentence(repository, kind, shown):
        return Snapshot(repository, kind, commit, _listing(repository, kind, commit, attempts))


def _listing(repository: str, kind: str, commit: str, attempts: int) -> dict[str, RemoteFile]:
    entries = _persistently(
        lambda: list(HfApi().list_repo_tree(repository, recursive=True, revision=commit, repo_type=kind)), attempts
    )
    return {
        _inside(entry.path, repository): RemoteFile(
            entry.path,
            hf_hub_url(repository, entry.path, repo_type=kind, revision=commit),
            entry.size if entry.lfs is None else entry.lfs.size,
            None if entry.lfs is None else entry.lfs.sha256,
            entry.blob_id if entry.lfs is None else None,
            build_hf_headers(library_name="prh"),
        )
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def _inside(path: str, repository: str) -> str:
    """The path of a file of a repository; FetchError for one that would lead out of the folder of the download."""
    if path.startswith("/") or ".." in PurePosixPath(path).parts or "\\" in path or "\0" in path:
        raise FetchError(f"{repository} is not fetched: its file {path!r} would lie outside of the folder.")
    return path


# ---- the web --------------------------------------------------------------------------------------------------


def fetch_url(url: str, folder: Path, *, sha256: str | None = None, lock: Lock | None = None) -> Path:
    """Download the file at ``url`` into ``folder``; returns its path.

    Its hash must be ``sha256``, else the one that ``lock`` holds for the url; where neither is known, the hash of what
    comes is locked. FetchError where the bytes are others.
    """
    url, short = revealed(url), redacted(url)
    lock, source = lock or Lock(), {"url": short}
    expected = sha256 or lock.held(source)
    name = PurePosixPath(urlsplit(url).path).name or "file"
    remote = RemoteFile(name, url, sha256=expected)
    try:
        with in_one_sentence(short):
            _fetch_all([remote], folder, None)
    except WrongBytes as error:
        known = "the experiment" if sha256 else f"{lock.path} (locked at the first download)"
        raise FetchError(f"{error}; {known} asks for sha256 {expected}: the file there has changed.") from None
    if sha256 is None:
        lock.keep(source, sha256=expected or files.sha256(folder / name))
    return folder / name


def size_of_url(url: str) -> int | None:
    """The bytes of the file at ``url``, if its server tells; FetchError if there is none, ValueError as `revealed`."""
    url, short = revealed(url), redacted(url)
    with in_one_sentence(short):
        response = get_session().head(url, headers={"Accept-Encoding": "identity"}, timeout=10)
        hf_raise_for_status(response)
    return int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None


# ---- files ----------------------------------------------------------------------------------------------------


class WrongBytes(FetchError):
    """A download has another size or hash than it should."""


def _fetch_all(wanted: list[RemoteFile], folder: Path, title: str | None) -> None:
    """Fetch what is not there yet, small files first: what is forbidden or full is then known early."""
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
        files.making(folder),  # two that continue one piece would mix them
        Progress("download", total, "B", scaled=True) as progress,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):

        def advance(count: int) -> None:
            if stopped.is_set():
                raise FetchError("stopped, since another file failed")
            progress.advance(count)

        futures = [pool.submit(_fetch_file, file, folder, advance) for file in missing]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stopped.set()  # the pool waits for what runs: hours, where that is large
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_room(missing: Iterable[RemoteFile], folder: Path) -> None:
    here = sum(part.stat().st_size for file in missing if (part := _part(file, folder)).is_file())
    needed, free = sum(file.size or 0 for file in missing) - here, shutil.disk_usage(folder).free
    if needed > free:
        raise FetchError(
            f"{human(needed)} are to be downloaded and {folder} has {human(free)} free; make room, or set 'results' to "
            "a folder on a larger disk."
        )


def _part(file: RemoteFile, folder: Path) -> Path:
    """Where a file grows: a hidden name by its content, so that a piece of another version is never continued, and by
    its path, since two files of a folder may be alike.
    """
    key = hashlib.sha256(f"{file.path}\n{file.digest or redacted(file.url)}".encode()).hexdigest()[:16]
    return (folder / file.path).with_name(f".{key}.part")


def _fetch_file(file: RemoteFile, folder: Path, advance: Callable[[int], object]) -> None:
    target, part = folder / file.path, _part(file, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    version = part.with_suffix(".version")
    if file.digest is None and not version.is_file():
        part.unlink(missing_ok=True)  # nothing would tell whether the rest belongs to this piece
    continued = _size(part) > 0
    advance(_size(part))
    if file.size is None or _size(part) < file.size or not continued:
        _persistently(lambda: _stream(file, part, version, advance), growing=lambda: _size(part))
    if not file.is_whole(part):
        found = f"{file.path} from {redacted(file.url)} has {_size(part):,} bytes and hash {file.digest_of(part)}"
        part.unlink()
        if continued:
            log.warning("%s, which is wrong; it is downloaded anew.", found)
            return _fetch_file(file, folder, advance)
        expected = "" if file.size is None else f" in place of {file.size:,} and {file.digest}"
        raise WrongBytes(f"{found}{expected}; it was thrown away")
    part.replace(target)
    version.unlink(missing_ok=True)
    return None


def _stream(file: RemoteFile, part: Path, version: Path, advance: Callable[[int], object]) -> None:
    """Append to ``part`` what is missing of it; start anew where the server cannot go on or has a new version."""
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
        if response.status_code == 416:  # nothing after what is here: either it is whole, or its hash will say
            return
        hf_raise_for_status(response)
        if file.digest is None and not _tells_its_end(response):
            raise FetchError(
                f"{redacted(file.url)} cannot be fetched: its server does not say how long it is, and a cut connection "
                "looks like its end; give its hash in 'sha256' of its entry."
            )
        if have and response.status_code != 206:
            advance(-have)
        _note_version(response, file, version)
        with part.open("ab" if response.status_code == 206 else "wb") as stream:
            for chunk in response.iter_bytes():  # as they come: what came before a cut is kept
                stream.write(chunk)
                advance(len(chunk))


def _tells_its_end(response: httpx.Response) -> bool:
    """Whether a connection that breaks is told from one that ends."""
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return chunked or "Content-Length" in response.headers


def _note_version(response: httpx.Response, file: RemoteFile, version: Path) -> None:
    """Write down which version of a file without a known hash is on its way."""
    etag = response.headers.get("ETag", "")
    strong = etag if not etag.startswith("W/") else ""
    if file.digest is None and (validator := strong or response.headers.get("Last-Modified")):
        version.write_text(validator, encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


# ---- what can go wrong ----------------------------------------------------------------------------------------


def _persistently(action: Callable[[], T], attempts: int = ATTEMPTS, growing: Callable[[], int] = lambda: 0) -> T:
    """The result of ``action``, tried again after passing troubles, each time later.

    An attempt after which there is more than before (``growing``) does not count.
    """
    failed = 0
    while True:
        before = growing()
        try:
            return action()
        except (httpx.RequestError, HfHubHTTPError) as error:
            failed = 1 if growing() > before else failed + 1
            if failed >= attempts or not _passes(error):
                raise
            wait = min(WAIT * 2 ** (failed - 1), LONGEST_WAIT)
            log.warning("%s; attempt %d of %d in %g s", _short(error), failed + 1, attempts, wait)
            time.sleep(wait)


def _passes(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TEMPORARY
    return not isinstance(error, (httpx.UnsupportedProtocol, httpx.TooManyRedirects))


def _short(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"{redacted(str(error.response.request.url))} answers {error.response.status_code}"
    return redacted_text(f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def in_one_sentence(source: str, kind: str = "", revision: str | None = None) -> Iterator[None]:
    """Turn what can go wrong with a download into a FetchError with one sentence. ``kind``: model, dataset or none."""
    what = "data set" if kind == "dataset" else kind
    try:
        yield
    except FetchError:
        raise
    except GatedRepoError as error:
        page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{source}"
        token = "the token given has no access" if get_token() else "no token is given"
        status = error.response.status_code
        raise FetchError(
            f"{source} is gated and {token} ({status}): ask for access at {page}, then give a token of that account "
            "with `hf auth login` or in HF_TOKEN."
        ) from None
    except RevisionNotFoundError:
        raise FetchError(f"the {what} {source} has no revision {revision}; correct 'revision' of its entry.") from None
    except RepositoryNotFoundError:
        raise FetchError(
            f"the hub has no {what} {source}, or it is private: correct 'id', or give a token with `hf auth login` or "
            "in HF_TOKEN."
        ) from None
    except HFValidationError as error:
        raise FetchError(f"{source!r} cannot be a {what} of the hub: {' '.join(str(error).split())}") from None
    except OfflineModeIsEnabled:
        raise FetchError(
            f"{source} cannot be fetched while HF_HUB_OFFLINE is set; unset it where downloads run."
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in TEMPORARY:
            todo = "try again later; what is here already is kept and continued"
        elif status == 401 and kind:
            todo = "the token is not valid: log in anew with `hf auth login`, or mend HF_TOKEN"
        else:
            todo = "correct its address" if status in (404, 410) else "see whether the address asks for a login"
        raise FetchError(f"{source} cannot be fetched: {_short(error)}; {todo}.") from None
    except httpx.UnsupportedProtocol:
        raise FetchError(f"{source} cannot be fetched: an address must begin with https:// or http://.") from None
    except httpx.TooManyRedirects:
        raise FetchError(
            f"{source} cannot be fetched: its address leads in circles; correct it, or see whether it asks for a login."
        ) from None
    except httpx.RequestError as error:
        raise FetchError(
            f"{source} cannot be fetched: {_short(error)}; run downloads where there is a network, such as a login "
            "node, and run them again if it failed them: what is here already is kept and continued."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FetchError(
            f"the disk is full: {source} could not be written; make room and run again, it goes on from there."
        ) from None


def human(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
