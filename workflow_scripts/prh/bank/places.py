"""Where a bank lies: a folder of this machine, or a data set repository of the hub that is fetched as it is needed."""

from __future__ import annotations

import fnmatch
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prh.downloads.hub import Snapshot

HUB = "hub:"


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
    downloaded; whatever is there already is checked and kept.
    """

    def __init__(self, repository: str, revision: str | None) -> None:
        self.repository, self.revision = repository, revision

    @cached_property
    def _snapshot(self) -> Snapshot:
        from prh.downloads import hub

        return hub.find(self.repository, kind="dataset", revision=self.revision)

    @cached_property
    def folder(self) -> Path:
        """The folder of its commit in the cache."""
        from huggingface_hub import constants

        name = self.repository.replace("/", "--")
        return Path(constants.HF_HOME) / "prh" / "banks" / name / self._snapshot.commit

    def folders_in(self, name: str) -> list[str]:
        """Names of the folders in the folder ``name``, sorted; empty if there are none."""
        parts = (path.split("/") for path in self._snapshot.files if path.startswith(f"{name}/"))
        return sorted({path[1] for path in parts if len(path) > 2})

    def fetch(self, *patterns: str) -> None:
        """Download the files that match ``patterns`` and are not here yet. Raises FetchError if that fails."""
        names = [name for name in self._snapshot.files if any(fnmatch.fnmatch(name, one) for one in patterns)]
        self._snapshot.add(names, self.folder)


def place_of(location: str) -> Place:
    """The place of a bank: ``hub:owner/name``, ``hub:owner/name@revision``, or a folder.

    Raises BankError for a folder that does not exist and an address that is not complete.
    """
    if location.startswith(HUB):
        repository, _, revision = location.removeprefix(HUB).partition("@")
        if not re.fullmatch(r"[^/\s@]+/[^/\s@]+", repository):
            raise BankError(f"{location!r} is no address of a bank; write hub:owner/name or hub:owner/name@revision.")
        return HubRepository(repository, revision or None)
    if not Path(location).is_dir():
        raise BankError(
            f"there is no folder {location}; pass the results folder of an experiment, or hub:owner/name@revision for "
            "a bank on the hub (no bank is published under a name alone)."
        )
    return LocalFolder(Path(location))
