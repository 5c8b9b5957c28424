"""Downloads of single files from web addresses."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from huggingface_hub.utils import get_session, hf_raise_for_status

from prh.downloads.failures import FetchError, WrongBytes, in_one_sentence
from prh.downloads.lockfile import Lock
from prh.downloads.transfer import RemoteFile, fetch_all
from prh.io import files
from prh.io.addresses import redacted, revealed


def fetch_url(url: str, folder: Path, *, sha256: str | None = None, lock: Lock | None = None) -> Path:
    """Download the file at ``url`` into ``folder`` and return its path.

    Its hash must be ``sha256``, or else the one in ``lock``; if neither is known, the hash of the download is locked.
    Raises FetchError if the file cannot be had or has another hash.
    """
    url, short = revealed(url), redacted(url)
    lock, source = lock or Lock(), {"url": short}
    expected = sha256 or lock.held(source)
    name = name_of(url)
    remote = RemoteFile(name, url, sha256=expected)
    try:
        with in_one_sentence(short):
            fetch_all([remote], folder, None)
    except WrongBytes as error:
        known = "the experiment" if sha256 else f"{lock.path} (locked at the first download)"
        raise FetchError(f"{error}; {known} asks for sha256 {expected}: the file there has changed.") from None
    if sha256 is None:
        lock.keep(source, sha256=expected or files.sha256(folder / name))
    return folder / name


def name_of(url: str) -> str:
    """The name for the file at an address: its own, if a disk allows it."""
    name = PurePosixPath(urlsplit(url).path).name[-files.LONGEST_STEM :]
    return "file" if name in ("", ".", "..") else name


def size_of_url(url: str) -> int | None:
    """The size in bytes of the file at ``url``; None if its server does not say.

    Raises FetchError if it cannot be had, and ValueError as `revealed` does.
    """
    url, short = revealed(url), redacted(url)
    with in_one_sentence(short):
        response = get_session().head(url, headers={"Accept-Encoding": "identity"}, timeout=10)
        hf_raise_for_status(response)
    return int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
