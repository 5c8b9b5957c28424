"""The code of a job as one digest: what can change its result, and nothing else.

A digest is taken of the syntax trees of a program and of the modules of prh that it imports, directly or through each
other. Comments, formatting and docstrings are not in a tree to begin with or are taken out of it, and so is what a
program only says: calls of ``print`` and of loggers, the wording of errors and what they are about, the help of
options, titles of progress.
What jobs are wrapped in is left out whole (`WING`).

The result of a job can depend on members of a registry (a metric, a modality, a figure) of which it uses one. What the
``__init__`` of a package imports of its own members is therefore not followed: a name that it hands on is looked up
where it is defined, and the member that a job uses is one of its roots.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2]
"""The folder that holds the package, and in the repository also the programs."""
INSTALLED_PROGRAMS = "prh/workflow/workflow_scripts"
"""Where the programs lie below that folder if prh was installed from a wheel."""

WING = (
    "prh.jobs",  # what a program is wrapped in
    "prh.experiment",  # what an experiment says reaches a job through its spec; so do defaults that changed (specs.py)
    "prh.downloads.lockfile",  # what was fetched says itself which version it is
    "prh.io.addresses",
    "prh.io.names",  # which models are checkpoints, the specs say
    "prh.io.versions",
)
"""Packages and modules that cannot change a number: their code is no part of any digest, nor is from which of their
files a program imports, and what they import is not followed."""

IDLE = {"__all__", "PRELOAD"}
"""Constants that change no result: what a module hands on, and what is imported before a program (forkserver/)."""
SPEAKERS = {"log", "logger", "logging", "warnings"}
SAYING = {"debug", "info", "warning", "error", "exception", "critical", "warn"}
SPOKEN = {"help", "description", "epilog", "metavar"}
"""Arguments of argparse that are shown only."""
HARMLESS = {
    *("len", "str", "repr", "max", "min", "sum", "sorted", "map", "list", "dict", "set", "zip", "round", "abs", "type"),
    *("join", "format", "items", "values", "keys", "tolist", "splitlines", "encode", "mean", "median", "select"),
    *("filter", "sort", "col", "from_arrow", "get", "as_posix", "human"),
}
"""Calls that change nothing, so that a call of ``print`` with them in it can be left out."""


def digest(roots: Iterable[str | Path], library: Path = LIBRARY) -> str:
    """16 hexadecimal digits for the code of a job.

    Parameters
    ----------
    roots
        Where its code begins: programs by file name, modules by dotted name (``prh.core.metrics.knn``), or files
        anywhere.
    library
        The folder that holds the package and the programs.

    Raises FileNotFoundError for a root that is not there, SyntaxError for a file that is not Python.
    """
    parts = sorted((_relative(path, library), _essence(path)) for path in modules(roots, library))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def home(function: str | Callable) -> str | Path:
    """Where the code of a function begins, for `digest`: its module, or its file where it comes from outside of prh.

    ``function`` is the function, or where it is: ``package.module:function``.
    """
    if isinstance(function, str):
        module = function.partition(":")[0]
    else:
        function = inspect.unwrap(function)
        module = function.__module__
    if module.split(".")[0] == "prh":
        return module
    return Path(inspect.getsourcefile(import_module(module) if isinstance(function, str) else function))


def modules(roots: Iterable[str | Path], library: Path = LIBRARY) -> list[Path]:
    """The files whose code a job depends on, in alphabetical order, its roots among them; `WING` is left out."""
    found: set[Path] = set()
    todo = [_file(root, library) for root in roots]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += _imported(path, library)
    return sorted(found)


def _file(root: str | Path, library: Path) -> Path:
    path = root if isinstance(root, Path) else _programs(library) / root
    if path.suffix != ".py":
        path = _home(str(root), library)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"{root} is no program or module below {library}.")
    return path


def _relative(path: Path, library: Path) -> str:
    """How a file is called in a digest: the same wherever the library, its programs, or a plugin, lie."""
    home = next((folder for folder in (_programs(library), library) if path.is_relative_to(folder)), _outside(path))
    return path.relative_to(home).as_posix()


def _programs(library: Path) -> Path:
    """The folder that holds the programs."""
    installed = library / INSTALLED_PROGRAMS
    return installed if installed.is_dir() else library


def _outside(path: Path) -> Path:
    """The folder from which a plugin is imported: that of its file, or that which holds its outermost package."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


# ---- which modules --------------------------------------------------------------------------------------------


@cache
def _imported(path: Path, library: Path) -> list[Path]:
    """The files that a file imports, also inside functions; what is imported for type checkers only is not.

    Of prh, and, for a plugin, of what lies beside it.
    """
    beside = None if path.is_relative_to(library) else _outside(path)
    package = _package_of(path, library)
    files: set[Path] = set()
    for node in _running(_parsed(path)):
        if isinstance(node, ast.Import):
            named = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [(_absolute(node, path, library), alias.name) for alias in node.names]
        else:
            continue
        for module, name in named:
            if module.split(".")[0] != "prh":
                files |= _files_of(module, name, beside) if beside else set()
            elif not (package and f"{module}.{name}.".startswith(f"{package}.")):
                files |= _files_of(module, name, library)
    return sorted(files)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree but those below ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def _package_of(path: Path, library: Path) -> str | None:
    """The package whose ``__init__`` a file is; None for any other file."""
    if path.name != "__init__.py" or not path.is_relative_to(library):
        return None
    return ".".join(path.parent.relative_to(library).parts)


def _absolute(node: ast.ImportFrom, path: Path, library: Path) -> str:
    """The module of a ``from ... import``, relative ones made absolute."""
    if node.level == 0:
        return node.module or ""
    parts = path.parent.relative_to(library if path.is_relative_to(library) else _outside(path)).parts
    return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])


def _files_of(module: str, name: str | None, library: Path) -> set[Path]:
    """The files behind ``import module`` (no name) or ``from module import name``."""
    if name is not None and (member := _home(f"{module}.{name}", library)):
        return _unless_wing(f"{module}.{name}", member)
    home = _home(module, library)
    if home is None:
        return set()
    if home.name == "__init__.py" and module != "prh":
        handed_on = _handed_on(home, library)
        if name in handed_on:
            return _files_of(handed_on[name], name, library)
        if name in (None, "*"):  # any of its members may be meant
            return {home}.union(*(_files_of(source, None, library) for source in set(handed_on.values())))
    return _unless_wing(module, home)


@cache
def _handed_on(init: Path, library: Path) -> dict[str, str]:
    """Names that the ``__init__`` of a package imports at its top, and the modules that it has them from."""
    return {
        alias.asname or alias.name: _absolute(node, init, library)
        for node in _parsed(init).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if _absolute(node, init, library).split(".")[0] == "prh"
    }


def _unless_wing(module: str, path: Path) -> set[Path]:
    return set() if module == "prh" or _is_wing(module) else {path}


def _is_wing(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{wing}." for wing in WING))


def _home(module: str, library: Path) -> Path | None:
    """The file of a module or package; None if there is none."""
    place = library.joinpath(*module.split("."))
    return next((file for file in (place.with_name(f"{place.name}.py"), place / "__init__.py") if file.is_file()), None)


# ---- what of them ---------------------------------------------------------------------------------------------


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def _essence(path: Path) -> str:
    """Digest of the syntax tree of a file, without what is said only."""
    return hashlib.sha256("".join(_written(_parsed(path), path.name == "__init__.py")).encode()).hexdigest()


def _written(node: object, is_init: bool = False) -> Iterator[str]:
    """A tree as text: the same for every version of Python (3.13 knows fields that 3.11 does not, empty mostly)."""
    if isinstance(node, list):
        yield "["
        for item in _without_subjects(node):
            if not _is_idle(item, is_init):
                yield from _written(item)
                yield ","
        yield "]"
    elif isinstance(node, ast.AST):
        yield type(node).__name__
        yield "("
        for name in node._fields:
            value = _without_words(node, name)
            if value is not None and value != [] and name not in ("ctx", "type_comment", "kind"):
                yield f"{name}="
                yield from _written(value, is_init and isinstance(node, ast.Module))
        yield ")"
    else:
        yield repr(node)


def _without_subjects(nodes: Iterable[object]) -> Iterator[object]:
    """Statements without the ``with about(...)`` around them, which says what an error is about (prh.jobs.about)."""
    for node in nodes:
        kept = [item for item in node.items if not _is_about(item.context_expr)] if isinstance(node, ast.With) else None
        if kept == []:
            yield from _without_subjects(node.body)
        else:
            yield node if kept is None else ast.With(items=kept, body=node.body)


def _is_about(call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "about"


def _is_idle(node: object, is_init: bool) -> bool:
    """Whether a statement computes nothing: a docstring, something said, an import from the wing, or a registry's list
    of its members.
    """
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or (_is_said(node.value) and _has_no_effect(node.value))
    if isinstance(node, ast.ImportFrom | ast.Import) and (is_init or _is_from_wing(node)):
        return True
    names = node.targets if isinstance(node, ast.Assign) else []
    return bool(names) and all(isinstance(name, ast.Name) and name.id in IDLE for name in names)


def _is_from_wing(node: ast.ImportFrom | ast.Import) -> bool:
    """Whether all that is imported is from the wing: it may move from file to file there."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module or ""] if _is_wing(node.module or "") else [f"{node.module}.{name}" for name in names]
    return all(map(_is_wing, names))


def _is_said(call: ast.expr) -> bool:
    """Whether an expression is a call of ``print`` or of a logger."""
    if not isinstance(call, ast.Call):
        return False
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id in SPEAKERS and function.attr in SAYING
    return isinstance(function, ast.Name) and function.id == "print"


def _has_no_effect(call: ast.Call) -> bool:
    """Whether the arguments of a call change nothing: drawing a random number for a log does."""
    for node in (part for argument in [*call.args, *call.keywords] for part in ast.walk(argument)):
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name not in HARMLESS:
                return False
    return True


def _without_words(node: ast.AST, field: str) -> object:
    """A field of a node, without the words of errors, of help and of titles."""
    value = getattr(node, field, None)
    if not isinstance(node, ast.Call):
        if isinstance(node, ast.Raise) and field == "exc" and isinstance(value, ast.Call):
            arguments = [argument for argument in value.args if not _is_text(argument)]
            return ast.Call(func=value.func, args=arguments, keywords=value.keywords)
        return value
    called = getattr(node.func, "attr", getattr(node.func, "id", None))
    if field == "keywords" and called in ("add_argument", "ArgumentParser"):
        return [keyword for keyword in value if keyword.arg not in SPOKEN]
    if field == "args" and (called == "Progress" or _is_said(node)):
        return [argument for argument in value if not _is_text(argument)]
    return value


def _is_text(node: ast.expr) -> bool:
    """Whether an expression is written as a string."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
