"""From the parsed YAML of an experiment to a checked `Experiment` with all defaults filled in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from prh.datasets import local_forms
from prh.downloads.sources import source_of
from prh.experiment import checkpoints, checks, plugins
from prh.experiment.messages import ConfigError, sentence
from prh.experiment.schema import Experiment
from prh.io.addresses import redacted_text

LARGEST_NUMBER = 2**63 - 1
"""Largest whole number that fits into 64 bits; NumPy, Parquet and JSON readers fail on larger ones."""


def load(raw: Mapping[str, object], folder: str | Path = ".") -> Experiment:
    """Check ``raw`` (a parsed experiment file), after importing its plugins, and fill in defaults.

    Paths of local data and weights are relative to ``folder``. Raises ConfigError with a line for each mistake: unknown
    or missing keys, wrong types, repeated names, unknown metrics, k >= n, missing folders.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError("an experiment must hold keys such as datasets and models.")
    require_plain(raw)
    try:
        plugins.load(_plugins_in(raw), folder)
    except plugins.PluginError as error:
        raise ConfigError(str(error)) from None
    try:
        experiment = Experiment.model_validate(dict(raw))
    except ValidationError as error:
        sentences = dict.fromkeys(redacted_text(sentence(item, raw)) for item in error.errors())
        raise ConfigError("\n".join(sentences)) from None
    experiment, mistakes = checkpoints.expanded(_with_forms(experiment, Path(folder)), Path(folder))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    if mistakes := checks.mistakes_in(experiment, Path(folder)):
        raise ConfigError("\n".join(mistakes))
    return experiment


def _plugins_in(raw: Mapping[str, object]) -> list[str]:
    """The plugins that an experiment names. They are needed before it is checked, since its entries may use them."""
    named = raw.get("plugins") or []
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def _with_forms(experiment: Experiment, folder: Path) -> Experiment:
    """``experiment`` with image or captions set to null where it does not name them and local data has none."""
    entries = []
    for entry in experiment.datasets:
        open_keys = {"image", "captions"} - entry.model_fields_set
        path = source_of("datasets", entry).lies_here(entry)
        if path is not None and open_keys:
            lacking = open_keys & local_forms.not_there(folder / path)
            entry = entry.model_copy(update=dict.fromkeys(lacking))
        entries.append(entry)
    return experiment.model_copy(update={"datasets": entries})


def require_plain(raw: object) -> None:
    """Raise ConfigError for whole numbers beyond 64 bits, and for text that cannot be encoded."""
    if mistake := _not_plain(raw):
        raise ConfigError(mistake)


def _not_plain(raw: object) -> str | None:
    todo, seen = [("", raw)], set()
    while todo:
        key, value = todo.pop()
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            digits = int((value.bit_length() - 1) * math.log10(2)) + 1
            return f"{key}: a number of {digits} digits is too large (at most {LARGEST_NUMBER:,})."
        if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
            return f"{key}: {ascii(value)[:100]} holds half of a surrogate pair, which is no text."
        if id(value) in seen or not isinstance(value, (Mapping, list)):
            continue
        seen.add(id(value))
        inside = value.items() if isinstance(value, Mapping) else ((key, part) for part in value)
        todo += [(f"{key}.{name}".lstrip(".") if isinstance(value, Mapping) else key, part) for name, part in inside]
    return None
