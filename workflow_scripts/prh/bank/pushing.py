"""Pushing a bank to the hub, in one commit: others see all of it or nothing.

An interrupted push goes on where it stopped, because the hub keeps the files that it has received and asks only for the
others. Nothing is pushed but by the command ``prh bank push``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import httpx

from prh.bank.folder import NEIGHBOURS
from prh.bank.packing import CARD, FOLDERS, LOCK, Package
from prh.bank.places import HUB, REPOSITORY, BankError
from prh.downloads.failures import FetchError, persistently
from prh.downloads.transfer import human
from prh.io.addresses import redacted


@dataclass(frozen=True)
class Destination:
    """A repository that a bank is pushed to, and the files that it has."""

    repository: str
    exists: bool
    is_private: bool
    files: tuple[str, ...] = ()


def target(repository: str, *, public: bool = False) -> Destination:
    """Look up where a bank would go; nothing is changed.

    Raises BankError for a name that is none, for a repository that holds something else, and for a public one unless
    ``public``; FetchError without a token, or if the hub refuses it or cannot be reached.
    """
    repository = repository.removeprefix(HUB)
    if not re.fullmatch(REPOSITORY, repository):
        raise BankError(f"{repository!r} cannot be a repository of the hub; write owner/name.")
    if get_token() is None:
        raise FetchError(
            f"nothing was pushed to {repository}: no token is set; log in with `hf auth login` or set HF_TOKEN, with "
            "a token that may write."
        )
    with _in_one_sentence(repository):
        try:
            info = persistently(lambda: HfApi().repo_info(repository, repo_type="dataset"))
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return Destination(repository, False, not public)
    names = tuple(sibling.rfilename for sibling in info.siblings or ())
    others = [name for name in names if name not in (CARD, ".gitattributes")]
    if others and not any(name.startswith(f"{NEIGHBOURS}/") for name in names):
        raise BankError(
            f"{repository} is no bank and holds {len(others)} files, such as {others[0]}; name another repository."
        )
    if not info.private and not public:
        raise BankError(f"{repository} is public; pass --public to push to it, or name another repository.")
    return Destination(repository, True, bool(info.private), names)


def summary(package: Package, where: Destination) -> str:
    """What would be pushed, as text: where to, and the number and size of the files of each folder."""
    kind = f"{'private' if where.is_private else 'PUBLIC'} data set repository"
    sizes: dict[str, list[int]] = {}
    for path, file in package.files.items():
        sizes.setdefault(path.split("/")[0], []).append(file.stat().st_size)
    lines = [f"{package.folder} to {where.repository}, a {'' if where.exists else 'new '}{kind}:"]
    lines += [f"  {name}: {len(each):,} files, {human(sum(each))}" for name, each in sizes.items()]
    lines.append(f"  in all: {len(package.files):,} files, {human(package.size)}")
    if gone := _stale(package, where):
        lines.append(f"  deleted there: {len(gone):,} files that this bank does not have")
    return "\n".join(lines)


def push(package: Package, where: Destination) -> str:
    """Create the repository if needed and push all files in one commit, which is returned. Raises FetchError."""
    operations = [
        *(CommitOperationAdd(path, str(file)) for path, file in package.files.items()),
        *(CommitOperationDelete(path) for path in _stale(package, where)),
    ]
    api, repository = HfApi(), where.repository
    with _in_one_sentence(repository):
        if not where.exists:
            persistently(
                lambda: api.create_repo(repository, repo_type="dataset", private=where.is_private, exist_ok=True)
            )
        message = f"Bank of {', '.join(bank.dataset for bank in package.banks)}"
        commit = persistently(
            lambda: api.create_commit(repository, operations, commit_message=message, repo_type="dataset")
        )
    return commit.oid


def _stale(package: Package, where: Destination) -> list[str]:
    """Files of an earlier bank that this one does not have."""
    ours = (name for name in where.files if name == LOCK or name.split("/")[0] in FOLDERS)
    return [name for name in ours if name not in package.files]


@contextmanager
def _in_one_sentence(repository: str) -> Iterator[None]:
    """Turn the errors of a push into a FetchError of one sentence."""
    failed = f"{repository} was not pushed"
    try:
        yield
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        status = getattr(getattr(error, "response", None), "status_code", 401)
        if status == 401:
            reason = "the token is not valid; log in again with `hf auth login`, or correct HF_TOKEN"
        elif status in (403, 404):
            owner = repository.split("/")[0]
            reason = f"your token may not write there ({status}); use one that may write, of an account of {owner}"
        else:
            address = redacted(str(error.response.request.url))
            reason = f"{address} answers {status}; push again later: what was uploaded is not uploaded again"
        raise FetchError(f"{failed}: {reason}.") from None
    except OfflineModeIsEnabled:
        raise FetchError(f"{failed}: HF_HUB_OFFLINE is set; unset it to push.") from None
    except httpx.RequestError as error:
        raise FetchError(
            f"{failed}: the connection broke ({type(error).__name__}); push again: what was uploaded is not uploaded "
            "again."
        ) from None
