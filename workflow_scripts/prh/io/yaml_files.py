"""Strict reading of YAML for experiments, registries and lock files: plain data of bounded size, each key once.

Snakemake reads an experiment before any code of this repository runs; it is lenient, and it runs Python in a file that
contains ``__use_yte__``. Both must read the same values, so everything that could make them differ is rejected here.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Hashable
from pathlib import Path

import yaml

TEMPLATES = "__use_yte__"
"""The key that makes Snakemake run the Python in a file."""
LARGEST = 1_000_000
"""Most values of a file after expanding aliases, of which a few lines can expand to billions."""
LARGEST_FILE = 64 * 2**20
"""Most bytes of a file."""
DEEPEST = 100
"""Most levels of nesting in a file."""

_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class YamlError(ValueError):
    """A file cannot be read as plain data; the message names it and says why."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """PyYAML's loader of plain data, in C if available, which is ten times faster."""


class _MistakeError(Exception):
    """The problem with a file, as the predicate of a sentence, and its line (counted from 0)."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"{problem} (line {line + 1})")


def read(path: str | Path) -> object:
    """The content of a YAML (or JSON) file.

    Raises YamlError if the file does not exist, is not UTF-8 or not YAML, repeats a key, contains itself or the key
    __use_yte__, or is too large or too deeply nested.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise _MistakeError("is a folder; a file is expected" if path.is_dir() else "does not exist")
        return _parsed(_text(path))
    except _MistakeError as mistake:
        raise YamlError(f"{path} {mistake}.") from None
    except OSError as error:
        raise YamlError(f"{path} cannot be read: {error.strerror or error}.") from None


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST_FILE:
        raise _MistakeError(f"has more than {LARGEST_FILE:,} bytes, too many for an experiment")
    content = path.read_bytes()
    for mark, encoding in _ENCODINGS.items():
        if content.startswith(mark):
            raise _MistakeError(f"is {encoding}; save it as UTF-8")
    if b"\0" in content:
        raise _MistakeError("holds zero bytes, so it is not UTF-8 text; save it as UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        raise _MistakeError("has a character that is not UTF-8; save it as UTF-8", line) from None


def _parsed(text: str) -> object:
    """Parse as JSON, else as YAML: the order in which Snakemake tries them."""
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
        problem = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
        lines = text.splitlines()
        line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
        is_tabbed = "\t" in line[: len(line) - len(line.lstrip())]
        tab = "; indent YAML with spaces, not tabs" if is_tabbed else ""
        raise _MistakeError(f"is not YAML: {problem}{tab}", None if mark is None else mark.line) from None
    except yaml.YAMLError as error:
        raise _MistakeError(f"is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _MistakeError(f"is nested deeper than {DEEPEST} levels") from None
    except (ValueError, OverflowError) as error:  # an impossible date, such as 2024-13-45, or a number of 10,000 digits
        raise _MistakeError(f"has a value that cannot be read: {error}") from None


def _bounded_node(text: str) -> yaml.Node | None:
    """The nodes of a file, after checking their depth and number; None if it is empty."""
    depth = 0
    for event in yaml.parse(
        text, Loader=_Loader
    ):  # events need no recursion, unlike the next step, which recurses in C
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _MistakeError(f"is nested deeper than {DEEPEST} levels", event.start_mark.line)
    node = yaml.compose(text, Loader=_Loader)
    if node is not None and _size(node, {}, set()) > LARGEST:
        raise _MistakeError(f"has aliases that expand to more than {LARGEST:,} values")
    return node


def _size(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """How many values a node expands to, counting aliases each time; raises for keys that are not allowed."""
    if id(node) in above:
        raise _MistakeError("has an anchor (&) that contains its own alias (*)", node.start_mark.line)
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
    """Raise unless each key occurs once and none runs code; the merge key << takes a list, so it may not repeat."""
    seen: dict[object, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _MistakeError("has a list or a mapping as a key; keys must be words", key.start_mark.line)
        _require_no_code(key.value, key.start_mark.line)
        name = (key.tag, key.value)
        if name in seen:
            raise _MistakeError(
                f"has the key '{key.value}' twice (first in line {seen[name] + 1}); "
                "only the last would count: remove one",
                key.start_mark.line,
            )
        seen[name] = key.start_mark.line


def _require_no_code(key: object, line: int | None = None) -> None:
    if key == TEMPLATES:
        raise _MistakeError(
            f"has the key {TEMPLATES}, which makes Snakemake run Python in the file; an experiment is data: remove it",
            line,
        )


def _constructed(node: yaml.Node) -> object:
    """The Python values of a node."""
    loader = _Loader("")
    try:
        content = loader.construct_document(node)
    except TypeError as error:  # unhashable keys
        raise _MistakeError(f"is not YAML: {error}") from None
    finally:
        loader.dispose()
    _require_same_keys(content)
    return content


def _require_same_keys(content: object) -> None:
    """Raise unless all keys are strings; others can be equal although written differently, such as 1 and 0x1."""
    todo, seen = [content], set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        if isinstance(value, dict):
            seen.add(id(value))
            for key in value:
                if not isinstance(key, str):
                    raise _MistakeError(f"has the key {key!r}, which is not a word; put it in quotes")
            todo += value.values()
        elif isinstance(value, list):
            seen.add(id(value))
            todo += value


def _object(pairs: list[tuple[Hashable, object]]) -> dict:
    """A JSON object; raises if a key is repeated."""
    content: dict = {}
    for key, value in pairs:
        _require_no_code(key)
        if key in content:
            raise _MistakeError(f"has the key '{key}' twice; only the last would count: remove one")
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
