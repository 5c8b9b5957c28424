"""YAML as experiments, registries and lock files have it: data and nothing else, each key once, of a bounded size.

Snakemake reads an experiment before any code of this repository can look at it: leniently, and with Python in it where
the file says ``__use_yte__``. What is read here must be what Snakemake read: whatever makes the two differ is refused.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Hashable
from pathlib import Path

import yaml

TEMPLATES = "__use_yte__"
"""The key by which a file asks Snakemake to run the Python in it."""
LARGEST = 1_000_000
"""Values of a file, those counted again that stand for an alias: a few lines of aliases can stand for billions."""
LARGEST_FILE = 64 * 2**20
"""Bytes."""
DEEPEST = 100
"""Levels of a file."""

_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class YamlError(ValueError):
    """A file cannot be read as data; the message names it and says why."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """PyYAML's loader of plain data (in C, where PyYAML has it: ten times faster)."""


class _MistakeError(Exception):
    """What the file is or does that it must not, as the rest of a sentence, and in which line (from 0)."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what if line is None else f"{what} (line {line + 1})")


def read(path: str | Path) -> object:
    """The content of a YAML (or JSON) file.

    Raises YamlError with one sentence where there is no such file, it is not UTF-8, no YAML, names a key twice, holds
    itself or the key __use_yte__, or is larger or deeper than any experiment.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise _MistakeError("is a folder; a file is wanted" if path.is_dir() else "does not exist")
        return _parsed(_text(path))
    except _MistakeError as mistake:
        raise YamlError(f"{path} {mistake}.") from None
    except OSError as error:
        raise YamlError(f"{path} cannot be read: {error.strerror or error}.") from None


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST_FILE:
        raise _MistakeError(f"has more than {LARGEST_FILE:,} bytes, as no YAML file of an experiment has")
    content = path.read_bytes()
    for mark, encoding in _ENCODINGS.items():
        if content.startswith(mark):
            raise _MistakeError(f"is {encoding}; save it as UTF-8")
    if b"\0" in content:
        raise _MistakeError("holds zero bytes, so it is no text in UTF-8; save it as UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        raise _MistakeError("has a letter that is not UTF-8; save it as UTF-8", line) from None


def _parsed(text: str) -> object:
    """JSON, if it is that, else YAML: in the order in which Snakemake tries them."""
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise _MistakeError(f"is nested deeper than {DEEPEST} levels") from None
    except ValueError:
        pass
    else:
        _require_bounded_data(content)
        return content
    try:
        node = _bounded_node(text)
        return None if node is None else _constructed(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
        lines = text.splitlines()
        line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
        is_tabbed = "\t" in line[: len(line) - len(line.lstrip())]
        tab = "; YAML is indented by blanks, not by tabs" if is_tabbed else ""
        raise _MistakeError(f"is not YAML: {what}{tab}", None if mark is None else mark.line) from None
    except yaml.YAMLError as error:
        raise _MistakeError(f"is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _MistakeError(f"is nested deeper than {DEEPEST} levels") from None
    except (ValueError, OverflowError) as error:  # a date that is none, such as 2024-13-45; a number of 10,000 digits
        raise _MistakeError(f"has a value that cannot be read: {error}") from None


def _bounded_node(text: str) -> yaml.Node | None:
    """The file as PyYAML's nodes, after a look at their depth and number."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):  # events come without recursion, which the next step has in C
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _MistakeError(f"is nested deeper than {DEEPEST} levels", event.start_mark.line)
    node = yaml.compose(text, Loader=_Loader)
    if node is not None and _size(node, {}, set()) > LARGEST:
        raise _MistakeError(f"has aliases that stand for more than {LARGEST:,} values")
    return node


def _size(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """How many values a node stands for, with those of aliases each time; looks for keys that are not allowed too."""
    if id(node) in above:
        raise _MistakeError("has an anchor (&) that holds its own alias (*)", node.start_mark.line)
    if id(node) not in sizes:
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _require_keys(node)
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        above.add(id(node))
        sizes[id(node)] = 1 + sum(_size(part, sizes, above) for part in parts)
        above.remove(id(node))
    return sizes[id(node)]


def _require_keys(node: yaml.MappingNode) -> None:
    """Each key once (also the merge key, <<: all that it brings in can be one list), and none that runs code."""
    seen: dict[object, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _MistakeError("has a list or a mapping for a key; keys are words", key.start_mark.line)
        _require_no_code(key.value, key.start_mark.line)
        name = (key.tag, key.value)
        if name in seen:
            raise _MistakeError(
                f"has the key '{key.value}' twice (first in line {seen[name] + 1}); the last would count: remove one",
                key.start_mark.line,
            )
        seen[name] = key.start_mark.line


def _require_no_code(key: object, line: int | None = None) -> None:
    if key == TEMPLATES:
        raise _MistakeError(
            f"has the key {TEMPLATES}, by which Snakemake runs Python in the file; an experiment is data: remove it",
            line,
        )


def _constructed(node: yaml.Node) -> object:
    """The values of nodes."""
    loader = _Loader("")
    try:
        content = loader.construct_document(node)
    except TypeError as error:  # keys that cannot be keys
        raise _MistakeError(f"is not YAML: {error}") from None
    finally:
        loader.dispose()
    _require_same_keys(content)
    return content


def _require_same_keys(content: object) -> None:
    """Keys that are written differently and are one, such as 1 and 0x1, would have replaced each other: only words."""
    todo, seen = [content], set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        if isinstance(value, dict):
            seen.add(id(value))
            for key in value:
                if not isinstance(key, str):
                    raise _MistakeError(f"has the key {key!r}, which is no word; put it in quotes")
            todo += value.values()
        elif isinstance(value, list):
            seen.add(id(value))
            todo += value


def _object(pairs: list[tuple[Hashable, object]]) -> dict:
    """A JSON object with each key once."""
    content: dict = {}
    for key, value in pairs:
        _require_no_code(key)
        if key in content:
            raise _MistakeError(f"has the key '{key}' twice; the last would count: remove one")
        content[key] = value
    return content


def _require_bounded_data(content: object) -> None:
    level, depth = [content], 0
    while level:
        if (depth := depth + 1) > DEEPEST + 1:
            raise _MistakeError(f"is nested deeper than {DEEPEST} levels")
        inside = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        ]
        level = [value for values in inside for value in values]
