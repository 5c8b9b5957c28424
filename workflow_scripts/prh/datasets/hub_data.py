"""Data sets of the hub: which files of a repository an entry needs, and downloading them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import datasets
from huggingface_hub.utils import filter_repo_objects

from prh.datasets.errors import DataError
from prh.downloads import hub
from prh.downloads.lockfile import Lock

if TYPE_CHECKING:
    from prh.experiment.schema import HubDataset, HubText

CARDS = ("README.md", "dataset_infos.json")
"""Files in which a repository describes itself, such as which file belongs to which subset and split."""


def fetch(entry: HubDataset | HubText, folder: Path, lock: Lock | None = None) -> tuple[str, list[str] | None]:
    """Download into ``folder`` the files of a data set repository that an entry needs.

    These are its ``files`` if it names some, otherwise the files of its split, or all if it is unknown which those are.
    Returns the commit and the files of the split (None if all files or ``files`` were downloaded). Raises DataError,
    before anything large is downloaded, if a pattern, subset or split is not there.
    """
    snapshot = hub.find(entry.id, kind="dataset", revision=entry.revision, lock=lock)
    if entry.files is not None:
        snapshot.fetch(matching(snapshot.files, entry.files, entry.id), folder)
        return snapshot.commit, None
    cards = [name for name in CARDS if name in snapshot.files]
    for name in cards:
        snapshot.fetch_file(name, folder)
    split = files_of_split(snapshot.files, folder, entry.subset, entry.split)
    snapshot.fetch(snapshot.files if split is None else [*cards, *split], folder)
    return snapshot.commit, split


def fetch_source(
    entry: HubDataset | HubText, folder: Path, *, lock: Lock, **_how: Any
) -> tuple[Path, dict[str, object]]:
    """`fetch` in the form of `prh.downloads.sources.Source.fetch`: the folder, and what reading it needs."""
    revision, split = fetch(entry, folder, lock)
    return folder, {"revision": revision, "split": split}


def matching(names: Iterable[str], patterns: Sequence[str], repository: str) -> list[str]:
    """The files of a repository that match ``patterns`` such as train/*.tar. Raises DataError if one matches none."""
    files = list(names)
    for pattern in patterns:
        if not any(filter_repo_objects(files, allow_patterns=pattern)):
            shown = ", ".join(files[:5]) + (" ..." if len(files) > 5 else "")
            raise DataError(f"{repository} has no file {pattern}; it has {shown}. Correct 'files'.")
    return list(filter_repo_objects(files, allow_patterns=list(patterns)))


def files_of_split(names: Iterable[str], cards: Path, subset: str | None, split: str) -> list[str] | None:
    """The files of a hub repository that hold a split; None if that is unknown without downloading all of them.

    The `datasets` library decides it from a folder of empty files with these names and the repository's CARDS, which
    are in the folder ``cards``. Raises DataError if the subset or split is not there.
    """
    with TemporaryDirectory() as temporary:
        skeleton = Path(temporary, "repository")
        for name in names:
            (skeleton / name).parent.mkdir(parents=True, exist_ok=True)
            (skeleton / name).write_bytes((cards / name).read_bytes() if name in CARDS else b"")
        try:
            builder = datasets.load_dataset_builder(str(skeleton), subset, cache_dir=f"{temporary}/cache")
        except ValueError as error:
            if subset is not None and "not found" in str(error):
                raise DataError(f"there is no subset {subset!r}: {' '.join(str(error).split())}") from None
            if "Config name is missing" in str(error):
                raise DataError(f"the data set has several subsets: {' '.join(str(error).split())}") from None
            return None
        except Exception:  # an archive or an unknown format: only reading all of it will tell
            return None
        files_by_split = builder.config.data_files
        if not files_by_split:
            return None
        if split not in files_by_split:
            raise DataError(f"there is no split {split!r}; there are {', '.join(map(str, files_by_split))}.")
        return sorted(Path(path).relative_to(skeleton.resolve()).as_posix() for path in files_by_split[split])
