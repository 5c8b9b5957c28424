"""What registries share: members that declare themselves, and functions named before anything they need is imported."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

Function = str | Callable[..., Any]
"""A function, or where it is: ``package.module:function``."""


@cache
def import_members(package: str, *, folders_only: bool = False) -> None:
    """Import the modules of a package, which register what they declare; of them only folders, if told so."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        if module.ispkg or not folders_only:
            import_module(module.name)


def resolved(function: Function) -> Callable[..., Any]:
    """The function itself."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
