"""What an experiment downloads, and how large it is according to the hub or estimated from parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prh.datasets import hub_data
from prh.downloads.failures import FetchError
from prh.downloads.lockfile import Lock
from prh.experiment.online import AT_ONCE, asked_size, elsewhere, is_repository, look_up, origin
from prh.experiment.plan import MADE
from prh.experiment.schema import Experiment
from prh.modalities import known
from prh.models import repositories


@dataclass(frozen=True)
class Download:
    """A download of an experiment; ``size`` in bytes, None if it is unknown."""

    kind: str
    name: str
    source: str
    size: float | None
    exact: bool
    note: str = ""


def parameters(entry: Mapping, size: float | None = None) -> float | None:
    """The number of parameters of a model entry (prh.experiment.schema); None if it is unknown.

    The first of these that has one: the entry, timm, a number in its name (bloomz-560m, open_llama_7b), the ``size`` of
    its weights in bytes.
    """
    if entry.get("parameters"):
        return float(entry["parameters"])
    if entry.get("library") == "timm" and (counted := _timm_parameters(entry)):
        return counted
    for text in (entry.get("id") or "", entry["name"]):
        if match := re.search(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(\d)?(?![a-z0-9])", text.lower()):
            number = float(f"{match.group(1)}.{match.group(3)}" if match.group(3) else match.group(1))
            return number * {"m": 1e6, "b": 1e9}[match.group(2)]
    return None if size is None else size / known()[entry["modality"]].cost.stored


def _timm_parameters(entry: Mapping) -> float | None:
    """The number of parameters of a timm architecture; None if timm does not have it."""
    from prh.models import loading

    try:
        return float(loading.count_timm_parameters(entry["id"].split("/")[-1], entry["model_args"]))
    except Exception:  # timm raises whatever a constructor does; then the name or the size must tell
        return None


def downloads(experiment: Experiment, lock: Path | None, online: bool) -> list[Download]:
    """Everything that is downloaded, with sizes from the hub if ``online``, else estimated."""
    results = Path(experiment.results)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda source: _download(*source, results, lock, online), elsewhere(experiment)))


def _download(kind: str, entry: Mapping, results: Path, lock: Path | None, online: bool) -> Download:
    source = origin(kind, entry)
    here = (results / MADE[kind].format(entry["name"])).is_file()
    notes = ["is here"] if here else ["gated: needs a token"] if entry.get("gated") else []
    size = None
    if online:
        try:
            size, note = _asked(kind, entry, Lock(lock, kind, entry["name"]))
            notes += [note] if note else []
        except (FetchError, ValueError) as error:
            notes.append(str(error))
    if here:
        size = 0
    exact = size is not None
    if not exact and kind == "models" and (count := parameters(entry)):
        size = count * known()[entry["modality"]].cost.stored
    return Download(kind, entry["name"], source, size, exact, "; ".join(notes))


def _asked(kind: str, entry: Mapping, lock: Lock) -> tuple[int | None, str]:
    """The size of a source, and a note if it has changed since it was locked. Nothing is locked or downloaded."""
    if not is_repository(kind, entry):
        return asked_size(kind, entry), ""
    snapshot, note, _ = look_up(kind, entry, lock)
    if kind == "models":
        return snapshot.bytes_of(repositories.needed_files(snapshot.files)), note
    if kind == "harness":
        return snapshot.bytes_of(snapshot.files), note
    if entry["files"]:
        return snapshot.bytes_of(hub_data.matching(snapshot.files, entry["files"], snapshot.repository)), note
    return snapshot.bytes_of(snapshot.files), f"{note + '; ' if note else ''}at most: all splits"
