"""Shared by the registries: import of modules that register themselves, and functions imported on first use."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

Function = str | Callable[..., Any]
"""A function, or the import path of one: ``package.module:function``."""


@cache
def import_members(package: str, *, folders_only: bool = False) -> None:
    """Import all modules of a package (or only its subpackages), each of which registers what it declares."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        if module.ispkg or not folders_only:
            import_module(module.name)


def resolved(function: Function) -> Callable[..., Any]:
    """The function itself, imported if it is given by its path."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
