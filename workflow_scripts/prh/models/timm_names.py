"""The names of timm's architectures, read from its source code.

Every experiment is checked against them whenever snakemake starts, and importing timm would import torch, which takes
seconds.
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
    """What is wrong with a timm model name such as resnet50.tv_in1k, or None.

    Repositories (me/model) are not checked, and nothing is if timm is not installed.
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
    """The names that timm.create_model accepts, deprecated ones and our own (prh.models.architectures) included."""
    source = _source()
    if not source:
        return frozenset()
    renamed = (name for block in _RENAMED.findall(source) for name in _KEY.findall(block))
    return frozenset([*_REGISTERED.findall(source), *renamed])


def _has_tag(tag: str) -> bool:
    """Whether any weights have that tag. timm composes some full names, so only the tag is looked for."""
    return any(f".{tag}{quote}" in _source() for quote in "'\"")


@cache
def _source() -> str:
    """The source of timm's models and ours; empty if timm is not installed."""
    timm = importlib.util.find_spec("timm")
    if timm is None or timm.origin is None:
        return ""
    paths = sorted(Path(timm.origin).parent.joinpath("models").rglob("*.py"))
    own = [_OWN] if _OWN.is_file() else []
    return "\n".join(path.read_text(encoding="utf-8") for path in [*paths, *own])
