"""Functions that a registry names before anything they need is imported."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

Function = str | Callable[..., Any]
"""A function, or where it is: ``package.module:function``."""


def resolved(function: Function) -> Callable[..., Any]:
    """The function itself."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
