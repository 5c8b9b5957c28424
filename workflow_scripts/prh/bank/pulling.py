"""Pulling a bank from the hub, into a folder or into the cache from which ``hub:owner/name`` is then read offline."""

from __future__ import annotations

from pathlib import Path

from prh.bank.folder import FEATURES, NEIGHBOURS, Bank
from prh.bank.packing import CARD, FOLDERS, LOCK
from prh.bank.places import HUB, BankError, HubRepository, place_of
from prh.downloads.transfer import human
from prh.io import files, tables

MARK = ".bank"
"""Hidden file of a pulled folder that names its repository."""


def pull(location: str, folder: Path | None = None, *, features: bool = False) -> str:
    """Download a bank, check it, and return what was done, as text.

    What is there already is checked and kept, so that an interrupted pull goes on where it stopped. Raises FetchError
    if something cannot be had, BankError for a repository that is no bank and for a ``folder`` that holds anything
    else, and TableError for a bank that is damaged.
    """
    place = place_of(location if location.startswith(HUB) else f"{HUB}{location}")
    assert isinstance(place, HubRepository)
    datasets = place.folders_in(NEIGHBOURS)
    if not datasets:
        raise BankError(
            f"{place.repository} is no bank: it has no folder {NEIGHBOURS}/ with a folder for each data set."
        )
    snapshot = place.snapshot
    ours = [name for name in snapshot.files if name in (CARD, LOCK) or name.split("/")[0] in FOLDERS]
    wanted = [name for name in ours if features or not name.startswith(f"{FEATURES}/")]
    target = place.folder if folder is None else folder
    if folder is not None:
        _claim(folder, place.repository)
    snapshot.add(wanted, target)
    if folder is not None:
        _remove_stale(folder, set(ours))
    for dataset in datasets:
        bank = Bank(target, dataset)
        for model in bank.models:
            tables.read(target / NEIGHBOURS / dataset / f"{model}.parquet")
    lines = [f"{place.repository} at {snapshot.commit[:12]}: {len(wanted):,} files, {human(snapshot.bytes_of(wanted))}"]
    if left := [name for name in ours if name not in wanted]:
        lines.append(f"Not pulled: features, {human(snapshot.bytes_of(left))}; --features pulls them too.")
    bank_name = target if folder is not None else f"{HUB}{place.repository}@{place.revision or snapshot.commit}"
    lines.append(f"Score against it with: prh score features.npy --bank {bank_name}")
    return "\n".join(lines)


def _claim(folder: Path, repository: str) -> None:
    """Mark ``folder`` as pulled from ``repository``. Raises BankError if it holds anything else."""
    mark = folder / MARK
    if folder.exists() and not folder.is_dir():
        raise BankError(f"{folder} is a file; name a folder to pull into.")
    if mark.is_file():
        before = mark.read_text(encoding="utf-8").strip()
        if before != repository:
            raise BankError(f"{folder} holds the bank {before}; pull {repository} into another folder.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise BankError(f"{folder} is not empty and no bank was pulled into it; name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    with files.writing(mark) as part:
        part.write_text(f"{repository}\n", encoding="utf-8")


def _remove_stale(folder: Path, names: set[str]) -> None:
    """Delete the tables of an earlier commit that the bank no longer has."""
    for room in FOLDERS:
        for path in (folder / room).rglob("*.parquet"):
            if path.relative_to(folder).as_posix() not in names:
                path.unlink()
