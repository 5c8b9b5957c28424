"""Mistakes in an experiment file as sentences that name the entry and the key as the file does."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel

from prh.experiment.schema import Experiment
from prh.experiment.specs import sections_in
from prh.io.addresses import redacted_text

LONGEST_LINE = 1500
"""Longest line of a message, in characters; a longer one repeats some value of the file."""


class ConfigError(ValueError):
    """The experiment cannot run. The message has one line per mistake, without secrets in addresses."""

    def __init__(self, mistakes: str) -> None:
        super().__init__("\n".join(map(_shortened, redacted_text(mistakes).split("\n"))))


def _shortened(line: str) -> str:
    """``line`` without its middle if it is too long."""
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} [...] {line[-half:]}"


def sentence(error: Mapping, raw: Mapping[str, object]) -> str:
    """One pydantic error as one sentence that names the entry and the key."""
    entry, section, key = _place(error["loc"], raw)
    where = f"{entry}, {key}" if key else entry
    match error["type"]:
        case "extra_forbidden":
            return f"{entry}: unknown key '{key}'{meant(key, _keys(error['loc'], section))}."
        case "missing":
            return f"{entry}: the key '{error['loc'][-1]}' is missing."
        case "union_tag_not_found":
            return f"{entry}: the key {error['ctx']['discriminator']} is missing."
        case "union_tag_invalid":
            context = error["ctx"]
            return f"{entry}: unknown {context['discriminator']} '{context['tag']}'; known: {context['expected_tags']}."
        case "value_error":
            return f"{where}: {error['ctx']['error']}."
        case "literal_error":
            return f"{where}: {error['input']!r} is not one of {error['ctx']['expected']}."
        case "string_too_long":
            return f"{where}: {len(error['input'])} letters are too many; at most {error['ctx']['max_length']} may be."
        case _:
            got = repr(error["input"])
            return f"{where}: {error['msg']} (got {got if len(got) <= 200 else f'{got[:200]} ...'})."


def _place(loc: tuple, raw: Mapping[str, object]) -> tuple[str, Mapping, str]:
    """The location of an error as the file names it: ("models, entry 'vit'", that entry, "pooling").

    ``loc`` also contains steps that are not in the file, the tags of pydantic's unions.
    """
    words, node, section, key = [], raw, raw, ""
    for step in loc:
        if isinstance(node, Mapping) and step in node:
            node, key = node[step], str(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node, key = node[step], f"{key}[{step}]"
        else:
            continue
        if isinstance(node, Mapping):
            words = [str(loc[0]), f"entry {node.get('name', step + 1)!r}"] if isinstance(step, int) else [*words, key]
            section, key = node, ""
    return ", ".join(words) or "the experiment", section, key


def _keys(loc: tuple, node: object) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    classes: list[type[BaseModel]] = [Experiment]
    for step in loc[:-1]:
        fields = [described for one in classes if (described := one.model_fields.get(step)) is not None]
        classes = [inner for one in fields for inner in sections_in(one.annotation)] or classes
    used = set(node) if isinstance(node, Mapping) else set()
    return sorted({name for section in classes for name in section.model_fields} - used)


def meant(word: str, known: object) -> str:
    """The question " (did you mean ...?)" for the known word closest to ``word``; empty if none is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
