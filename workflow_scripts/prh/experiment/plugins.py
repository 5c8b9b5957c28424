"""Plugins: metrics, modalities, sources and studies from outside the workflow.

An experiment lists files and modules under ``plugins``; installed packages declare theirs as entry points of `GROUPS`.
A plugin registers what it brings when it is imported: a metric with ``@prh.metric``, anything else with
``prh.register``. Jobs load the same plugins, which they find in the environment variable `VARIABLE`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from prh.io.functions import module_from_file

GROUPS = ("prh.metrics", "prh.modalities", "prh.sources", "prh.studies")
KINDS = {"Modality": "prh.modalities", "Source": "prh.downloads.sources", "Study": "prh.studies"}
"""Classes that can be registered, and the modules of their registries."""
VARIABLE = "PRH_PLUGINS"

T = TypeVar("T")

_loaded: dict[Path, ModuleType] = {}


class PluginError(ValueError):
    """A plugin cannot be loaded; the message is one sentence."""


def load(plugins: Sequence[str], folder: str | Path = ".") -> None:
    """Import plugins: files (``my_metric.py``), modules (``package.module``), and all installed entry points.

    Files are relative to ``folder``, where modules are looked up first as well. A plugin is imported once. Raises
    PluginError, naming the plugin and the line, if one is missing or fails.
    """
    for name in plugins:
        _import(name, Path(folder).resolve())
    for entry_point in _entry_points():
        try:
            entry_point.load()
        except Exception as error:
            where = f"entry point {entry_point.value} ({entry_point.group})"
            raise PluginError(_sentence(where, error)) from error


def register(brought: T) -> T:
    """Make a modality, a source or a study known to the workflow.

    Parameters
    ----------
    brought : Modality, Source or Study
        What a plugin brings.

    Returns
    -------
    Modality, Source or Study
        The same.

    Raises
    ------
    ValueError
        If its name is taken, or it reads something that does not exist.
    TypeError
        If it is anything else.

    Examples
    --------
    >>> import prh
    >>> study = prh.Study("an example", targets=lambda plan: (), reads=("best",), draw="my_package.spread:draw")
    >>> prh.register(study) is study
    True
    """
    for kind, module in KINDS.items():
        registry = import_module(module)
        if isinstance(brought, getattr(registry, kind)):
            registry.known()  # first, so that the names of the workflow's own are taken
            return registry.register(brought)
    raise TypeError(f"{brought!r} cannot be registered; it must be a {' or a '.join(KINDS)}.")


def environment(plugins: Sequence[str], folder: str | Path = ".") -> dict[str, str]:
    """The environment in which jobs load the same plugins, by `load_from_environment`; empty if there are none."""
    if not plugins and not _entry_points():
        return {VARIABLE: ""}
    return {VARIABLE: json.dumps({"plugins": list(plugins), "folder": str(Path(folder).resolve())})}


def load_from_environment() -> None:
    """Import the plugins that the environment variable names."""
    if named := os.environ.get(VARIABLE):
        load(**json.loads(named))


def _entry_points() -> list[EntryPoint]:
    """The entry points in `GROUPS`, found in one pass over the installed packages."""
    installed = entry_points()
    return [found for group in GROUPS for found in installed.select(group=group)]


def _import(name: str, folder: Path) -> None:
    path = folder / name
    is_file = name.endswith(".py")
    if is_file and not path.is_file():
        raise PluginError(f"plugins: {name} does not exist (relative to {folder}).")
    if path in _loaded:
        return
    home = str(path.parent if is_file else folder)
    if home not in sys.path:
        sys.path.insert(1, home)  # a plugin may import what lies beside it
    try:
        module = f"prh_plugin_{len(_loaded)}_{path.stem}"
        _loaded[path] = module_from_file(path, module) if is_file else import_module(name)
    except (Exception, SystemExit) as error:
        raise PluginError(_sentence(name, error)) from error


def _sentence(name: str, error: BaseException) -> str:
    trace, line = error.__traceback__, ""
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == Path(name).name:
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    what = " ".join(str(error).split()) or "no reason given"
    return f"plugins: {name} cannot be loaded{line} ({type(error).__name__}: {what})."
