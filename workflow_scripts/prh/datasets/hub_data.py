"""Data sets of the hub: which files of a repository an entry needs, and fetching them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import datasets
from huggingface_hub.utils import filter_repo_objects

from prh.datasets.errors import DataError
from prh.downloads import hub
from prh.downloads.lockfile import Lock

CARDS = ("README.md", "dataset_infos.json")
"""What a repository says of itself, such as which file belongs to which subset and split."""


def fetch(entry: Mapping, folder: Path, lock: Lock | None = None) -> tuple[str, list[str] | None]:
    """Download into ``folder`` what an entry (id, revision, files, subset, split) needs of a data set repository.

    Those are its ``files``, else the files of its split, else (where these cannot be told) all. Returns the commit
    and, in the second case, the files of the split. Raises DataError, before anything large is downloaded, for a
    pattern, subset or split that is not there.
    """
    snapshot = hub.find(entry["id"], kind="dataset", revision=entry["revision"], lock=lock)
    if entry["files"] is not None:
        snapshot.fetch(matching(snapshot.files, entry["files"], entry["id"]), folder)
        return snapshot.commit, None
    cards = [name for name in CARDS if name in snapshot.files]
    for name in cards:
        snapshot.fetch_file(name, folder)
    split = files_of_split(snapshot.files, folder, entry["subset"], entry["split"])
    snapshot.fetch(snapshot.files if split is None else [*cards, *split], folder)
    return snapshot.commit, split


def matching(names: Iterable[str], patterns: Sequence[str], repository: str) -> list[str]:
    """The files of a repository that ``patterns``, such as train/*.tar, mean; DataError for one that means none."""
    there = list(names)
    for pattern in patterns:
        if not any(filter_repo_objects(there, allow_patterns=pattern)):
            shown = ", ".join(there[:5]) + (" ..." if len(there) > 5 else "")
            raise DataError(f"{repository} has no file {pattern}; it has {shown}. Mend 'files'.")
    return list(filter_repo_objects(there, allow_patterns=list(patterns)))


def files_of_split(names: Iterable[str], cards: Path, subset: str | None, split: str) -> list[str] | None:
    """Of the files of a hub repository those that hold a split; None where that cannot be told without all of them.

    The `datasets` library is asked, with a folder of empty files of these names; ``cards`` is the folder with the
    repository's CARDS. Raises DataError for a subset or split that is not there.
    """
    with TemporaryDirectory() as place:
        skeleton = Path(place, "repository")
        for name in names:
            (skeleton / name).parent.mkdir(parents=True, exist_ok=True)
            (skeleton / name).write_bytes((cards / name).read_bytes() if name in CARDS else b"")
        try:
            builder = datasets.load_dataset_builder(str(skeleton), subset, cache_dir=f"{place}/cache")
        except ValueError as error:
            if subset is not None and "not found" in str(error):
                raise DataError(f"there is no subset {subset!r}: {' '.join(str(error).split())}") from None
            if "Config name is missing" in str(error):
                raise DataError(f"the data set has several subsets: {' '.join(str(error).split())}") from None
            return None
        except Exception:  # an archive cannot be looked into, a form is unknown ...: reading all of it will tell
            return None
        found = builder.config.data_files
        if not found:
            return None
        if split not in found:
            raise DataError(f"there is no split {split!r}; there are {', '.join(map(str, found))}.")
        return sorted(Path(path).relative_to(skeleton.resolve()).as_posix() for path in found[split])
