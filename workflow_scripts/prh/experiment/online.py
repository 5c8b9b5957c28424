"""Check from metadata alone that everything an experiment will download exists and can be read.

Only the small files that describe a repository are downloaded (config.json, tokenizer_config.json, the card of a data
set). Nothing is kept, and nothing is locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from prh.datasets import hub_data
from prh.downloads import hub
from prh.downloads.hub import Snapshot
from prh.downloads.lockfile import Lock
from prh.downloads.sources import Source, source_of
from prh.downloads.transfer import human
from prh.experiment.plan import MADE, is_elsewhere
from prh.experiment.schema import Experiment
from prh.io.addresses import redacted
from prh.io.functions import resolved
from prh.modalities import known
from prh.models import hub_checks, repositories

AT_ONCE = 8
"""Number of sources that are checked at the same time."""


@dataclass(frozen=True)
class Finding:
    """What was found out about one source: facts, and problems that prevent its use, each a phrase."""

    kind: str
    name: str
    source: str
    facts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = "; ".join(f"PROBLEM: {problem}" for problem in self.problems) or "; ".join(self.facts)
        return f"{'no' if self.problems else 'ok':3} {self.kind:8} {self.name}: {self.source}: {told}"


def check(experiment: Experiment, lock: Path | None) -> list[Finding]:
    """Check every source of ``experiment`` that is downloaded; ``lock`` is its lock file, which is only read."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda source: _finding(*source, lock), elsewhere(experiment)))


def elsewhere(experiment: Experiment) -> list[tuple[str, dict]]:
    """Every entry that is downloaded, without its secrets, with the list of the experiment that it is in."""
    return [
        (kind, entry.model_dump(mode="json"))
        for kind in MADE
        for entry in getattr(experiment, kind)
        if is_elsewhere(kind, entry)
    ]


def _finding(kind: str, entry: Mapping, lock: Path | None) -> Finding:
    facts: list[str] = []
    problems: list[str] = []
    try:
        for is_problem, sentence in _answers(kind, entry, Lock(lock, kind, entry["name"])):
            (problems if is_problem else facts).append(sentence)
    except (ValueError, OSError) as error:  # errors of prh are ValueErrors, each one sentence
        problems.append(" ".join(str(error).split()))
    return Finding(kind.removesuffix("s"), entry["name"], redacted(origin(kind, entry)), tuple(facts), tuple(problems))


def origin(kind: str, entry: Mapping) -> str:
    """Where an entry is downloaded from, for display."""
    return _source(kind, entry).origin(SimpleNamespace(**entry))


def asked_size(kind: str, entry: Mapping) -> int | None:
    """Bytes of a download that is not in a hub repository; None if unknown."""
    size = _source(kind, entry).size
    return None if size is None else size(SimpleNamespace(**entry))


def is_repository(kind: str, entry: Mapping) -> bool:
    """Whether an entry is a hub repository, about which more than the size can be found out."""
    return _source(kind, entry).repository is not None


def _source(kind: str, entry: Mapping) -> Source:
    return source_of(kind, SimpleNamespace(**entry))


def _answers(kind: str, entry: Mapping, lock: Lock) -> Iterator[tuple[bool, str]]:
    """(whether it is a problem, phrase) for each finding about a source. Raises an error of prh to stop early."""
    if not is_repository(kind, entry):
        size = asked_size(kind, entry)
        yield False, "of unknown size" if size is None else human(size)
        if entry.get("sha256", "") is None:
            yield False, "its hash is not pinned: that of the first download will be locked"
        return
    snapshot, note, revision = look_up(kind, entry, lock)
    yield False, f"commit {snapshot.commit[:12]}" + (f" ({note})" if note else "" if revision else " (not pinned)")
    yield from _access(snapshot, entry)
    with TemporaryDirectory() as folder:
        if kind == "models":
            yield from _model(snapshot, entry, Path(folder))
        elif kind == "harness":
            yield False, _extent(snapshot, snapshot.files)
        else:
            yield False, _extent(snapshot, _data_files(snapshot, entry, Path(folder)))


def look_up(kind: str, entry: Mapping, lock: Lock) -> tuple[Snapshot, str, str | None]:
    """The snapshot that an entry would download, a note on its lock (`hub.peek`), and its revision.

    Nothing is locked or downloaded. Raises an error of prh if it does not exist.
    """
    repository, revision = _source(kind, entry).repository(SimpleNamespace(**entry))
    what = "model" if kind == "models" else "dataset"
    return *hub.peek(repository, kind=what, revision=revision, lock=lock), revision


def _extent(snapshot: Snapshot, names: Iterable[str]) -> str:
    names = list(names)
    return f"{len(names)} files, {human(snapshot.bytes_of(names))}"


def _access(snapshot: Snapshot, entry: Mapping) -> Iterator[tuple[bool, str]]:
    """Whether access is restricted, and the licence, according to the hub."""
    info = HfApi().repo_info(snapshot.repository, repo_type=snapshot.kind, revision=snapshot.commit)
    if info.gated:
        try:
            HfApi().auth_check(snapshot.repository, repo_type=snapshot.kind)
            yield False, "gated, and your token opens it"
        except HfHubHTTPError:
            place = f"{'' if snapshot.kind == 'model' else 'datasets/'}{snapshot.repository}"
            yield True, f"it is gated: ask for access at huggingface.co/{place} and give your token (hf auth login)"
    elif entry.get("gated"):
        yield False, "the entry calls it gated, and it is open"
    card = info.card_data.to_dict() if info.card_data else {}
    licence = card.get("license_name") if card.get("license") == "other" else card.get("license")
    if isinstance(licence, list):
        licence = ", ".join(licence)
    if entry.get("licence") and licence and licence.lower() != entry["licence"].lower():
        yield True, f"its licence is {licence}, and the entry says {entry['licence']}"
    else:
        yield False, f"licence {licence or 'not stated there'}"


def _data_files(snapshot: Snapshot, entry: Mapping, folder: Path) -> Iterable[str]:
    """The files of a data set that an entry needs. Raises DataError for an unknown pattern, subset or split."""
    if entry["files"] is not None:
        return hub_data.matching(snapshot.files, entry["files"], snapshot.repository)
    for name in hub_data.CARDS:
        if name in snapshot.files:
            snapshot.fetch_file(name, folder)
    return hub_data.files_of_split(snapshot.files, folder, entry["subset"], entry["split"]) or snapshot.files


# ---- models -----------------------------------------------------------------------------------------------------


def _model(snapshot: Snapshot, entry: Mapping, folder: Path) -> Iterator[tuple[bool, str]]:
    """The files and size of a model, and whether its library has its architecture."""
    yield False, _extent(snapshot, repositories.needed_files(snapshot.files))
    if entry["library"] == "word_vectors":
        for name in ("vectors.safetensors", "vocab.txt"):
            if name not in snapshot.files:
                yield True, f"it has no {name}, which word vectors need"
        return
    if "config.json" not in snapshot.files:
        if entry["library"] == "transformers" or "/" in entry["id"]:
            yield True, "it has no config.json, by which its architecture is known"
        return
    config = hub_checks.content_of(snapshot, "config.json", folder)
    if entry["library"] == "timm":
        yield _known_to_timm(config)
        return
    yield _known_to_transformers(config, entry)
    if check := known()[entry["modality"]].repository:
        yield from resolved(check)(snapshot, config, entry, folder)


def _known_to_timm(config: Mapping) -> tuple[bool, str]:
    import timm

    architecture = config.get("architecture")
    if isinstance(architecture, str) and timm.is_model(architecture):
        return False, f"timm's {architecture}"
    return True, f"timm {timm.__version__} knows no architecture {architecture!r}, which its config.json names"


def _known_to_transformers(config: Mapping, entry: Mapping) -> tuple[bool, str]:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    architecture = ", ".join(config.get("architectures") or []) or str(kind)
    if kind in CONFIG_MAPPING_NAMES:
        return False, f"transformers' {architecture}"
    if config.get("auto_map"):
        if entry["trust_remote_code"]:
            return False, f"{architecture}, by code of its own"
        return True, f"{architecture} is code of its own: read it, then set trust_remote_code: true"
    return True, f"transformers {transformers.__version__} knows no model_type {kind!r}, which its config.json names"
