"""The names of timm's architectures, read off its source: without torch, which takes seconds to import.

An experiment is checked with them each time snakemake starts, and before any job.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

_REGISTERED = re.compile(r"^@register_model\s*\n(?:@[^\n]*\n)*def (\w+)\(", re.MULTILINE)
_RENAMED = re.compile(r"^register_model_deprecations\(__name__, \{(.*?)^\}\)", re.MULTILINE | re.DOTALL)
_KEY = re.compile(r"^\s*['\"]([^'\"]+)['\"]\s*:", re.MULTILINE)
_OWN = Path(__file__).with_name("architectures.py")


def mistake(name: str) -> str | None:
    """What is wrong with the name of a timm architecture, such as resnet50.tv_in1k; None where nothing is known to be.

    Nothing is known of repositories (me/model), and nothing at all where timm is not installed.
    """
    architecture, dot, tag = name.partition(".")
    known = architectures()
    if "/" in name or ":" in name or not known or name in known:
        return None
    if architecture not in known:
        close = difflib.get_close_matches(architecture, sorted(known), n=1)
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        return f"timm has no architecture '{architecture}'{meant}; timm.list_models() lists them"
    if dot and not _has_tag(tag):
        return f"timm has no weights '{tag}' of '{architecture}'; timm.list_pretrained('{architecture}*') lists them"
    return None


@cache
def architectures() -> frozenset[str]:
    """The names that timm.create_model takes, those of before included, and our own (prh.models.architectures)."""
    source = _source()
    if not source:
        return frozenset()
    renamed = (name for block in _RENAMED.findall(source) for name in _KEY.findall(block))
    return frozenset([*_REGISTERED.findall(source), *renamed])


def _has_tag(tag: str) -> bool:
    """Whether any weights have that tag: some names are put together, so that the source has the tag alone."""
    return any(f".{tag}{quote}" in _source() for quote in "'\"")


@cache
def _source() -> str:
    """The source of timm's models and of ours; nothing where timm is not installed."""
    timm = importlib.util.find_spec("timm")
    if timm is None or timm.origin is None:
        return ""
    paths = sorted(Path(timm.origin).parent.joinpath("models").rglob("*.py"))
    own = [_OWN] if _OWN.is_file() else []
    return "\n".join(path.read_text(encoding="utf-8") for path in [*paths, *own])
