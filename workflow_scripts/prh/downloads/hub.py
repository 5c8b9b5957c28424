"""Repositories of the Hugging Face hub: which commit is meant, what it holds, and downloading it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, httpx

from prh.downloads.failures import ATTEMPTS, FetchError, in_one_sentence, persistently
from prh.downloads.lockfile import Lock
from prh.downloads.transfer import RemoteFile, fetch_all, human
from prh.io.addresses import is_commit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A repository of the hub at one commit: the files it holds, before any of them is downloaded."""

    repository: str
    kind: str
    commit: str
    files: dict[str, RemoteFile]

    def bytes_of(self, names: Iterable[str]) -> int:
        """Total size of the files ``names``."""
        return sum(self.files[name].size or 0 for name in names)

    def fetch(self, names: Iterable[str], folder: Path) -> None:
        """Download the files ``names`` into ``folder`` and delete all others there. Raises FetchError if one fails."""
        names = set(names)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if not hidden and path.relative_to(folder).as_posix() not in names:
                log.info("removing %s, which is not needed", path)
                path.unlink()
        title = f"{self.repository} at {self.commit[:12]}"
        log.info("%s: %d files, %s, of %d there", title, len(names), human(self.bytes_of(names)), len(self.files))
        with in_one_sentence(self.repository, self.kind):
            fetch_all([self.files[name] for name in sorted(names)], folder, title)

    def add(self, names: Iterable[str], folder: Path) -> None:
        """Download the files ``names`` into ``folder`` and leave others alone. Raises FetchError if one fails."""
        with in_one_sentence(self.repository, self.kind):
            fetch_all([self.files[name] for name in names], folder, None)

    def fetch_file(self, name: str, folder: Path) -> Path:
        """Download one file into ``folder``, leave others alone, and return its path. Raises FetchError if it fails."""
        self.add([name], folder)
        return folder / name


def find(
    repository: str,
    *,
    kind: str = "model",
    revision: str | None = None,
    lock: Lock | None = None,
    attempts: int = ATTEMPTS,
) -> Snapshot:
    """Look up a repository of the hub: which commit is meant, and which files it has.

    ``kind`` is model or dataset. A ``revision`` that is a commit is used as it is. For a branch or tag (None: the main
    branch), the commit in ``lock`` is used; if there is none, the current commit is used and locked. Raises FetchError
    if the repository or revision cannot be had.
    """
    lock = lock or Lock()
    if revision is not None and is_commit(revision):
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
    """The snapshot that `find` would return, without locking it, and a note if it is locked or has moved on since."""
    locked, head = locked_and_head(repository, kind, revision, lock)
    commit = locked or head
    note = "locked" if locked else ""
    if locked and head not in (None, locked):
        note = f"locked; has moved on to {head[:12]}"
    return _snapshot(repository, kind, commit, commit, attempts=1), note


def locked_and_head(
    repository: str, kind: str, revision: str | None, lock: Lock, attempts: int = 1
) -> tuple[str | None, str | None]:
    """The locked commit (None if there is none), and the current commit of the branch ``revision``.

    The current commit of a commit is itself. It is None if the hub cannot be asked but a commit is locked; without a
    locked commit, that raises FetchError.
    """
    if revision is not None and is_commit(revision):
        return None, revision
    locked = lock.held(_source(repository, revision))
    try:
        with in_one_sentence(repository, kind, revision):
            return locked, persistently(
                lambda: HfApi().repo_info(repository, repo_type=kind, revision=revision).sha, attempts
            )
    except FetchError as error:
        if locked is None:
            raise
        log.warning("%s: cannot check whether it has moved on since it was locked: %s", repository, error)
        return locked, None


def is_reachable(timeout: float = 10) -> bool:
    """Whether the hub answers."""
    try:
        get_session().head(constants.ENDPOINT, timeout=timeout)
    except (httpx.RequestError, OfflineModeIsEnabled):
        return False
    return True


def _source(repository: str, branch: str | None) -> dict[str, str]:
    """How a lock file identifies a repository."""
    return {"id": repository} | ({"branch": branch} if branch else {})


def _snapshot(repository: str, kind: str, commit: str, shown: str, attempts: int) -> Snapshot:
    with in_one_sentence(repository, kind, shown):
        return Snapshot(repository, kind, commit, _listing(repository, kind, commit, attempts))


def _listing(repository: str, kind: str, commit: str, attempts: int) -> dict[str, RemoteFile]:
    entries = persistently(
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


def listed(repository: str, kind: str, commit: str, entries: Mapping[str, Mapping[str, Any]]) -> Snapshot:
    """A snapshot from a listing that was kept: size, sha256 and git_sha1 of each file by its path."""
    headers = build_hf_headers(library_name="prh")
    return Snapshot(
        *(repository, kind, commit),
        {
            _inside(path, repository): RemoteFile(
                path, hf_hub_url(repository, path, repo_type=kind, revision=commit), **facts, headers=headers
            )
            for path, facts in entries.items()
        },
    )


def _inside(path: str, repository: str) -> str:
    """``path`` of a file in a repository. Raises FetchError if it would lead out of the folder of the download."""
    if path.startswith("/") or ".." in PurePosixPath(path).parts or "\\" in path or "\0" in path:
        raise FetchError(f"{repository} is not fetched: its file {path!r} would be outside the folder.")
    return path
