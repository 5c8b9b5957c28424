"""Every source of an experiment, looked over by metadata alone before anything large is fetched.

Asked are: does it exist at its revision, may it be downloaded, is its licence the one that the entry states, does it
have the files that will be read, how large are they, and does the library know the architecture and the tokenizer. Read
are listings and files of settings (config.json, tokenizer_config.json, a data set's card); nothing is kept or locked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from prh import fetching, hub_data, models
from prh.config import Experiment
from prh.datasets import DataError
from prh.fetching import FetchError, Snapshot, human
from prh.lockfile import Lock
from prh.models import ModelError
from prh.plan import MADE

SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)(\..+)")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
UNTOLD = (None, "other", "unknown")
"""What stands for a licence on the hub where it is told in words only."""


@dataclass
class Source:
    """What is known of a source; without ``problems`` it can be fetched and read. ``size``: bytes, None if not told."""

    kind: str
    name: str
    place: str
    size: int | None = None
    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        facts = [*([] if self.size is None else [human(self.size)]), *self.facts]
        told = f"{self.kind}/{self.name}: {self.place}" + (f"; {', '.join(facts)}" if facts else "")
        return f"wrong  {told}: {' '.join(self.problems)}" if self.problems else f"ok     {told}"


def check(experiment: Experiment, lock: Path | None) -> list[Source]:
    """Look every source of an experiment over, in its order; all that is wrong with each is in its ``problems``."""
    asked = [
        (kind, entry.model_dump(mode="json"))
        for kind in MADE
        for entry in getattr(experiment, kind)
        if entry.source in ("hub", "url", "lm_eval", "local")
    ]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda of: _checked(*of, Lock(lock, of[0], of[1]["name"])), asked))


def report(checked: list[Source]) -> str:
    """A line for each source, and one for all."""
    wrong = sum(bool(source.problems) for source in checked)
    total = human(sum(source.size or 0 for source in checked))
    verdict = f"{wrong} of {len(checked)} sources are wrong" if wrong else f"all {len(checked)} sources are right"
    return "\n".join([*map(str, checked), f"{verdict}; {total} to download, of which nothing was."])


def _checked(kind: str, entry: Mapping, lock: Lock) -> Source:
    source = Source(kind, entry["name"], entry.get("id") or entry.get("url") or entry.get("path") or "lm-eval's own")
    try:
        for step in (_local, _url, _hub):
            if step(source, entry, lock):
                break
    except (FetchError, ModelError, DataError, ValueError) as error:
        source.problems.append(_sentence(error))
    except Exception as error:  # one source that cannot be looked over must not hide the others
        source.problems.append(f"It cannot be looked over ({type(error).__name__}: {_sentence(error)})")
    return source


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") + "."


def _local(source: Source, entry: Mapping, _lock: Lock) -> bool:
    if entry["source"] == "local" and not Path(entry["path"]).exists():
        source.problems.append(f"{entry['path']} does not exist.")
    return entry["source"] == "local"


def _url(source: Source, entry: Mapping, _lock: Lock) -> bool:
    if entry["source"] != "url":
        return False
    source.size = fetching.size_of_url(entry["url"])
    source.facts.append("sha256 given" if entry.get("sha256") else "its hash is locked at the first download")
    return True


def _hub(source: Source, entry: Mapping, lock: Lock) -> bool:
    what, revision = ("model" if source.kind == "models" else "dataset"), entry.get("revision")
    if source.kind == "models":
        source.place = models.hub_repository(entry["library"], entry["id"])
    elif source.kind == "harness":
        from prh import language_scores  # slow, and most experiments do without

        source.place, revision = language_scores.source_of_task(entry["name"])
    repository = source.place
    locked, head = fetching.locked_and_head(repository, what, revision, lock)
    snapshot = fetching.find(repository, kind=what, revision=locked or head, attempts=2)
    source.place = f"{repository} at {snapshot.commit[:12]}"
    source.facts.append("locked" if locked else "pinned" if revision == snapshot.commit else "not pinned")
    if locked and head not in (None, locked):
        source.facts.append(f"has moved on to {head[:12]}")
    for step in (_rights, _model if source.kind == "models" else _data):
        try:
            step(source, entry, snapshot)
        except (FetchError, ModelError, DataError) as error:
            source.problems.append(_sentence(error))
    return True


def _rights(source: Source, entry: Mapping, snapshot: Snapshot) -> None:
    """Licence and gate."""
    told = fetching.information(snapshot.repository, kind=snapshot.kind, revision=snapshot.commit)
    card = told.card_data or {}
    tags = [tag.removeprefix("license:") for tag in told.tags or () if tag.startswith("license:")]
    licence = card.get("license_name") or card.get("license") or (tags[0] if tags else None)
    source.facts.append(f"licence {licence}" if licence else "no licence told")
    wanted = entry.get("licence")
    if isinstance(licence, str) and wanted and licence not in UNTOLD and licence.lower() != wanted.lower():
        source.problems.append(f"Its licence is {licence} and the entry says {wanted}: correct 'licence'.")
    if told.gated:
        source.facts.append("gated")
        if not entry.get("gated", True):
            source.facts.append("the entry does not say so")
    if snapshot.files:
        snapshot.check_access(min(snapshot.files, key=lambda name: snapshot.files[name].size or 0))


def _data(source: Source, entry: Mapping, snapshot: Snapshot) -> None:
    """Files of a data set, a text or a task."""
    if source.kind == "harness":
        names = list(snapshot.files)
    elif entry.get("files"):
        names = hub_data.matching(snapshot.files, entry["files"], snapshot.repository)
    else:
        with TemporaryDirectory() as folder:
            for name in hub_data.CARDS:
                if name in snapshot.files:
                    Path(folder, name).write_bytes(snapshot.read(name))
            split = hub_data.files_of_split(snapshot.files, Path(folder), entry.get("subset"), entry["split"])
        source.facts.append("files of its split" if split else "all of its files")
        names = split or list(snapshot.files)
    source.size = snapshot.bytes_of(names)
    source.facts.append(f"{len(names)} files")
    if not names:
        source.problems.append("It has no files.")


# ---- models ---------------------------------------------------------------------------------------------------


def _model(source: Source, entry: Mapping, snapshot: Snapshot) -> None:
    """Weights, architecture and tokenizer of a model."""
    for step in (_weights, _LIBRARIES[entry["library"]]):
        try:
            for problem in step(source, entry, snapshot):
                source.problems.append(problem)
        except (FetchError, ModelError) as error:
            source.problems.append(_sentence(error))


def _weights(source: Source, _entry: Mapping, snapshot: Snapshot) -> Iterator[str]:
    names = models.needed_files(snapshot.files)
    source.size = snapshot.bytes_of(names)
    source.facts.append(f"{len(names)} files")
    sharded = [match for name in names if (match := SHARD.fullmatch(name))]
    for first in sharded[:1]:
        stem, _, count, ending = first.groups()
        width = len(count)
        expected = [f"{stem}-{number:0{width}}-of-{count}{ending}" for number in range(1, int(count) + 1)]
        if missing := sorted(set(expected) - set(names)):
            yield f"Its weights are not whole: {', '.join(missing)} is missing."
    if all(name.endswith((".bin", ".pt", ".pth")) for name in names if _is_weights(name)):
        source.facts.append("pickled weights")


def _is_weights(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".pt", ".pth"))


def _settings(snapshot: Snapshot, name: str) -> dict:
    """The content of a JSON file; none where there is no such file. ModelError where it is not one."""
    if name not in snapshot.files:
        return {}
    try:
        content = json.loads(snapshot.read(name))
    except ValueError as error:
        raise ModelError(f"its {name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"its {name} holds no settings")
    return content


def _timm(source: Source, entry: Mapping, snapshot: Snapshot) -> Iterator[str]:
    import timm

    if "/" not in entry["id"]:
        return  # the name of one of timm's own models, which was looked up
    architecture = _settings(snapshot, "config.json").get("architecture")
    source.facts.append(str(architecture))
    if architecture is None:
        yield "Its config.json names no architecture of timm: set 'library'."
    elif not timm.is_model(architecture):
        yield f"timm {timm.__version__} does not know its architecture {architecture}: install a newer timm."


def _transformers(source: Source, entry: Mapping, snapshot: Snapshot) -> Iterator[str]:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    config = _settings(snapshot, "config.json")
    kind, own_code = config.get("model_type"), "auto_map" in config
    source.facts.append(str(kind))
    if not config:
        yield "It has no config.json, so transformers cannot load it: correct 'id' or 'library'."
    elif own_code and kind not in CONFIG_MAPPING_NAMES:
        source.facts.append("with code of its own")
        if not entry["trust_remote_code"]:
            yield f"{kind} is code of its own: read it, then set 'trust_remote_code: true'."
    elif kind not in CONFIG_MAPPING_NAMES:
        yield f"transformers {transformers.__version__} does not know its architecture {kind}: install a newer one."
    if entry["modality"] == "language":
        yield from _tokenizer(source, entry, snapshot, kind)
    elif not any(name in snapshot.files for name in PROCESSORS):
        yield f"It has no {PROCESSORS[0]}, which tells how images are prepared."


def _tokenizer(source: Source, entry: Mapping, snapshot: Snapshot, model_type: str | None) -> Iterator[str]:
    """Whether the class that will read the tokenizer is known and its files are there."""
    from transformers import TokenizersBackend
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    settings = _settings(snapshot, "tokenizer_config.json")
    if "tokenizer_class" not in settings and model_type not in CONFIG_MAPPING_NAMES:
        return  # which class reads it is not known either
    name = settings.get("tokenizer_class") or TOKENIZER_MAPPING_NAMES.get(model_type) or "TokenizersBackend"
    source.facts.append(name)
    if "auto_map" in settings:
        if not entry["trust_remote_code"]:
            yield f"Its tokenizer {name} is code of its own: read it, then set 'trust_remote_code: true'."
        return
    kind = tokenizer_class_from_name(name) or tokenizer_class_from_name(name.removesuffix("Fast"))
    if kind is None and models.WHOLE not in snapshot.files:
        yield f"transformers does not know its tokenizer class {name}, and it has no {models.WHOLE}."
        return
    kind = kind or TokenizersBackend
    if missing := models.missing_tokenizer_files(
        [file for file in snapshot.files if "/" not in file],
        kind.vocab_files_names,
        fast=issubclass(kind, TokenizersBackend),
    ):
        yield f"It has no {' and no '.join(dict.fromkeys([*missing, models.WHOLE]))}, of which {name} is made."


def _word_vectors(_source: Source, _entry: Mapping, snapshot: Snapshot) -> Iterator[str]:
    if missing := sorted({"vectors.safetensors", "vocab.txt"} - set(snapshot.files)):
        yield f"Word vectors need {' and '.join(missing)}, which it does not have."


_LIBRARIES: Mapping[str, Callable[[Source, Mapping, Snapshot], Iterator[str]]] = {
    "timm": _timm,
    "transformers": _transformers,
    "word_vectors": _word_vectors,
}
