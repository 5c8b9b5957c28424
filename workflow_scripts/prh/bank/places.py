"""Where a bank lies: a folder of this machine, or a data set repository of the hub that is fetched as it is needed."""

from __future__ import annotations

import fnmatch
import json
import logging
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prh.downloads.hub import Snapshot

HUB = "hub:"
REPOSITORY = r"[^/\s@]+/[^/\s@]+"
"""Names of repositories of the hub, owner and name."""

log = logging.getLogger(__name__)


class BankError(ValueError):
    """A bank is missing, damaged or lacks what a comparison needs; the message says what to do."""


class Place(Protocol):
    """A results folder, of which some files may still have to be fetched."""

    folder: Path

    def folders_in(self, name: str) -> list[str]:
        """Names of the folders in the folder ``name``, sorted; empty if there are none."""
        ...

    def fetch(self, *patterns: str) -> None:
        """Make all files that match ``patterns`` present in `folder`."""
        ...


class LocalFolder:
    """A results folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def folders_in(self, name: str) -> list[str]:
        """Names of the folders in the folder ``name``, sorted; empty if there are none."""
        return sorted(path.name for path in (self.folder / name).glob("*") if path.is_dir())

    def fetch(self, *patterns: str) -> None:
        """Nothing is fetched."""


class HubRepository:
    """A data set repository of the hub with the layout of a results folder, kept in the cache of the hub's client.

    Each commit has its own folder, so a revision that is a commit never changes. Only what a comparison reads is
    downloaded; whatever is there already is checked and kept. The listing of each commit is kept too, so that the hub
    is not needed for what was downloaded before (`prh bank pull` downloads all of a bank).
    """

    def __init__(self, repository: str, revision: str | None) -> None:
        self.repository, self.revision = repository, revision

    @cached_property
    def snapshot(self) -> Snapshot:
        """The commit and its listing: as the hub has it, or as it was when the hub was last reached.

        Raises FetchError if the repository cannot be had and was never looked up before.
        """
        from prh.downloads import hub
        from prh.downloads.failures import ATTEMPTS, FetchError
        from prh.io.addresses import is_commit

        kept = self._kept()
        if kept and self.revision and is_commit(self.revision):
            return kept
        try:
            snapshot = hub.find(
                self.repository, kind="dataset", revision=self.revision, attempts=1 if kept else ATTEMPTS
            )
        except FetchError:
            if kept is None or hub.is_reachable():
                raise
            log.warning("%s: the hub cannot be reached; using %s from before.", self.repository, kept.commit[:12])
            return kept
        self._keep(snapshot)
        return snapshot

    @cached_property
    def folder(self) -> Path:
        """The folder of its commit in the cache."""
        return self._cache / self.snapshot.commit

    @property
    def _cache(self) -> Path:
        from huggingface_hub import constants

        return Path(constants.HF_HOME) / "prh" / "banks" / self.repository.replace("/", "--")

    def _record(self, revision: str | None) -> Path:
        return self._cache / ".listings" / f"{(revision or 'main').replace('/', '--')}.json"

    def _keep(self, snapshot: Snapshot) -> None:
        from prh.io import files

        facts = ("size", "sha256", "git_sha1")
        listing = {path: {key: getattr(file, key) for key in facts} for path, file in snapshot.files.items()}
        for revision in {self.revision or "main", snapshot.commit}:
            files.write_json(self._record(revision), {"commit": snapshot.commit, "files": listing})

    def _kept(self) -> Snapshot | None:
        """What `_keep` wrote; None if there is nothing that can be read."""
        from prh.downloads import hub

        try:
            record = json.loads(self._record(self.revision).read_text(encoding="utf-8"))
            return hub.listed(self.repository, "dataset", record["commit"], record["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def folders_in(self, name: str) -> list[str]:
        """Names of the folders in the folder ``name``, sorted; empty if there are none."""
        parts = (path.split("/") for path in self.snapshot.files if path.startswith(f"{name}/"))
        return sorted({path[1] for path in parts if len(path) > 2})

    def fetch(self, *patterns: str) -> None:
        """Download the files that match ``patterns`` and are not here yet. Raises FetchError if that fails."""
        names = [name for name in self.snapshot.files if any(fnmatch.fnmatch(name, one) for one in patterns)]
        self.snapshot.add(names, self.folder)


def place_of(location: str) -> Place:
    """The place of a bank: ``hub:owner/name``, ``hub:owner/name@revision``, or a folder.

    Raises BankError for a folder that does not exist and an address that is not complete.
    """
    if location.startswith(HUB):
        repository, _, revision = location.removeprefix(HUB).partition("@")
        if not re.fullmatch(REPOSITORY, repository):
            raise BankError(f"{location!r} is no address of a bank; write hub:owner/name or hub:owner/name@revision.")
        return HubRepository(repository, revision or None)
    if not Path(location).is_dir():
        raise BankError(
            f"there is no folder {location}; pass the results folder of an experiment, or hub:owner/name@revision for "
            "a bank on the hub (no bank is published under a name alone)."
        )
    return LocalFolder(Path(location))
