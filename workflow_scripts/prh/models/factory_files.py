"""Where the code of a factory lies: found and read, but never run.

A factory is a function of the user's that builds a model: ``my_models.py:build``, a file relative to the folder where
snakemake runs, or ``package.module:build``, a module there or an installed one.
"""

from __future__ import annotations

import ast
import sysconfig
from importlib import metadata, util
from pathlib import Path


def split(factory: str) -> tuple[str, str]:
    """File or module, and function."""
    place, _, function = factory.rpartition(":")
    return place, function


def find(factory: str, folder: str | Path = ".") -> Path | None:
    """The file that defines a factory; None if there is none. A module is looked up in ``folder`` first."""
    place, _ = split(factory)
    folder = Path(folder).resolve()
    if place.endswith(".py"):
        return path if (path := folder / place).is_file() else None
    first, *inner = place.split(".")
    try:
        spec = util.find_spec(first)  # imports nothing, since the name has no dot
    except ValueError:  # __main__
        spec = None
    roots = [folder] + [Path(root).parent for root in (spec and spec.submodule_search_locations) or ()]
    if spec is not None and spec.origin and not inner:
        roots.append(Path(spec.origin).parent)
    named = (root.joinpath(first, *inner) for root in roots)
    candidates = (path for name in named for path in (name.with_name(f"{name.name}.py"), name / "__init__.py"))
    return next((path for path in candidates if path.is_file()), None)


def home(path: Path) -> Path:
    """The folder from which the code of a file imports what lies beside it: its own, or that of its outermost package.
    What is imported from there is watched (prh.experiment.code).
    """
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def installed_version(factory: str, path: Path) -> str | None:
    """The version of the installed package that ``path`` is part of; None for code that lies anywhere else."""
    homes = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}
    if not any(path.is_relative_to(home) for home in homes):
        return None
    package = split(factory)[0].split(".")[0]
    names = metadata.packages_distributions().get(package, [])
    return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names))) or package


def mistake(factory: str, folder: str | Path = ".") -> str | None:
    """What is wrong with a factory as far as its file shows, as the end of a sentence; None if nothing is."""
    place, function = split(factory)
    path = find(factory, folder)
    if path is None:
        kind = "file" if place.endswith(".py") else "module"
        return f"there is no {kind} {place} (relative to {Path(folder).resolve()})"
    packages = place.count(".") if not place.endswith(".py") else 0
    inside = path.parent if path.name == "__init__.py" else path
    if packages and not installed_version(factory, path) and home(path) != inside.parents[packages]:
        return f"{place} is in a folder without __init__.py; add one, so that what it imports is watched"
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if getattr(error, "lineno", None) else ""
        return f"{place}{where} is not Python ({getattr(error, 'msg', error)})"
    if function not in (names := set(_defined(tree))) and "*" not in names:
        return f"{place} does not define {function}"
    return None


def _defined(tree: ast.Module) -> list[str]:
    """Names that a module may define: also inside ``if`` and ``try``, and "*" where it cannot be told."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
    return [*names, "*"] if "__getattr__" in names else names
