"""Shared by the registries: import of modules that register themselves, and functions imported on first use."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

Function = str | Callable[..., Any]
"""A function, or the import path of one: ``package.module:function``."""


@cache
def import_members(package: str, *, folders_only: bool = False) -> None:
    """Import all modules of a package (or only its subpackages), each of which registers what it declares."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        if module.ispkg or not folders_only:
            import_module(module.name)


def module_from_file(path: Path, name: str) -> ModuleType:
    """Import a Python file as the module ``name``, which must be new; a file that fails leaves no module behind."""
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None  # a .py file has one
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def resolved(function: Function) -> Callable[..., Any]:
    """The function itself, imported if it is given by its path."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
