"""Which modalities there are, and what is asked of them by name."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import Any

from prh.modalities.base import GREY, MODALITIES, Modality


def known() -> dict[str, Modality]:
    """All modalities by name: those of the workflow, and those that were registered from outside."""
    _declare()
    return MODALITIES


@cache
def _declare() -> None:
    from prh.modalities import declarations

    for module in pkgutil.iter_modules(declarations.__path__, f"{declarations.__name__}."):
        import_module(module.name)


def modality_of(entry: Any) -> Modality:
    """The modality of a model's entry."""
    return known()[entry.modality]


def given() -> list[str]:
    """The names of the modalities whose representations are given, not computed by a model."""
    return [name for name, modality in known().items() if modality.is_given]


def colour_of(name: str) -> str:
    """The colour of a modality's name in figures; grey for one that nobody declares."""
    return known()[name].colour if name in known() else GREY
