"""The digest of a job's code: it changes with code that can change the result, and with nothing else.

The digest covers the syntax trees of a program and of the modules of prh that it imports, directly or indirectly.
It ignores comments, formatting, docstrings and whatever only informs the user: calls of ``print`` and of loggers, the
wording of errors and their ``about`` blocks, the help of options and the titles of progress bars. The code around a job
is excluded altogether (`EXCLUDED`).

A job uses only some members of a registry (of metrics, modalities, figures), so imports of a package's own members in
its ``__init__`` are not followed. A re-exported name is looked up where it is defined, and the members that a job uses
are among its roots.
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
"""The folder of the programs below `LIBRARY` if prh was installed from a wheel."""

EXCLUDED = (
    "prh.jobs",  # error handling, logs and devices around every program
    "prh.experiment",  # settings reach a job through its spec, including changed defaults (specs.py)
    "prh.downloads.lockfile",  # downloads record their own version
    "prh.io.addresses",
    "prh.io.names",  # which models are checkpoints, the specs say
    "prh.io.versions",
)
"""Packages and modules that cannot change a number. Neither their code nor the imports from them are part of a digest,
and what they import is not followed."""

IGNORED_CONSTANTS = {"__all__", "PRELOAD"}
"""Constants that change no result: exported names, and modules to import before a program starts (forkserver/)."""
LOGGERS = {"log", "logger", "logging", "warnings"}
LOGGING_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "warn"}
HELP_ARGUMENTS = {"help", "description", "epilog", "metavar"}
"""Arguments of argparse that only appear in help texts."""
PURE_CALLS = {
    *("len", "str", "repr", "max", "min", "sum", "sorted", "map", "list", "dict", "set", "zip", "round", "abs", "type"),
    *("join", "format", "items", "values", "keys", "tolist", "splitlines", "encode", "mean", "median", "select"),
    *("filter", "sort", "col", "from_arrow", "get", "as_posix", "human"),
}
"""Calls without side effects: a ``print`` whose arguments call only these can be ignored."""


def digest(roots: Iterable[str | Path], library: Path = LIBRARY) -> str:
    """Digest of the code of a job, 16 hexadecimal digits.

    Parameters
    ----------
    roots : iterable of str or Path
        Entry points of the code: programs by file name, modules by dotted name (``prh.core.metrics.knn``), or paths of
        files anywhere.
    library : Path
        The folder that holds the package and the programs.

    Returns
    -------
    str
        The digest.

    Raises
    ------
    FileNotFoundError
        A root does not exist.
    SyntaxError
        A file is not Python.
    """
    parts = sorted((_relative_name(path, library), _digest_of_file(path)) for path in modules(roots, library))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def home(function: str | Callable) -> str | Path:
    """The root of a function for `digest`: its module if it is in prh, otherwise its file.

    ``function`` is the function itself or its path, ``package.module:function``.
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
    """The files whose code a job depends on, roots included and `EXCLUDED` left out, in alphabetical order."""
    files: set[Path] = set()
    todo = [_root_file(root, library) for root in roots]
    while todo:
        path = todo.pop()
        if path not in files:
            files.add(path)
            todo += _imported_files(path, library)
    return sorted(files)


def _root_file(root: str | Path, library: Path) -> Path:
    path = root if isinstance(root, Path) else _programs_folder(library) / root
    if path.suffix != ".py":
        path = _file_of_module(str(root), library)
    if path is None or not path.is_file():
        raise FileNotFoundError(f"{root} is not a program or module below {library}.")
    return path


def _relative_name(path: Path, library: Path) -> str:
    """The name of a file in a digest, which does not depend on where the library, its programs or a plugin are."""
    home = next(
        (folder for folder in (_programs_folder(library), library) if path.is_relative_to(folder)), _import_folder(path)
    )
    return path.relative_to(home).as_posix()


def _programs_folder(library: Path) -> Path:
    """The folder that holds the programs."""
    installed = library / INSTALLED_PROGRAMS
    return installed if installed.is_dir() else library


def _import_folder(path: Path) -> Path:
    """The folder from which a plugin is imported: the parent of its outermost package, or of its file."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


# ---- which files count ----------------------------------------------------------------------------------------


@cache
def _imported_files(path: Path, library: Path) -> list[Path]:
    """The files of prh that a file imports, and those beside it if it is a plugin.

    Imports inside functions count; imports for type checkers do not.
    """
    beside = None if path.is_relative_to(library) else _import_folder(path)
    package = _package_of(path, library)
    files: set[Path] = set()
    for node in _runtime_nodes(_parsed(path)):
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


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree except those below ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _runtime_nodes(child)


def _package_of(path: Path, library: Path) -> str | None:
    """The package that an ``__init__`` file defines; None for any other file."""
    if path.name != "__init__.py" or not path.is_relative_to(library):
        return None
    return ".".join(path.parent.relative_to(library).parts)


def _absolute(node: ast.ImportFrom, path: Path, library: Path) -> str:
    """The module of a ``from ... import``; relative imports are made absolute."""
    if node.level == 0:
        return node.module or ""
    parts = path.parent.relative_to(library if path.is_relative_to(library) else _import_folder(path)).parts
    return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])


def _files_of(module: str, name: str | None, library: Path) -> set[Path]:
    """The files behind ``import module`` (no name) or ``from module import name``."""
    if name is not None and (member := _file_of_module(f"{module}.{name}", library)):
        return _unless_excluded(f"{module}.{name}", member)
    home = _file_of_module(module, library)
    if home is None:
        return set()
    if home.name == "__init__.py" and module != "prh":
        reexports = _reexports(home, library)
        if name in reexports:
            return _files_of(reexports[name], name, library)
        if name in (None, "*"):  # the importing code may use any member
            return {home}.union(*(_files_of(source, None, library) for source in set(reexports.values())))
    return _unless_excluded(module, home)


@cache
def _reexports(init: Path, library: Path) -> dict[str, str]:
    """Names that the ``__init__`` of a package imports at its top level, with the modules they come from."""
    return {
        alias.asname or alias.name: _absolute(node, init, library)
        for node in _parsed(init).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if _absolute(node, init, library).split(".")[0] == "prh"
    }


def _unless_excluded(module: str, path: Path) -> set[Path]:
    return set() if module == "prh" or _is_excluded(module) else {path}


def _is_excluded(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"{wing}." for wing in EXCLUDED))


def _file_of_module(module: str, library: Path) -> Path | None:
    """The file of a module or package; None if there is none."""
    stem = library.joinpath(*module.split("."))
    return next((file for file in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py") if file.is_file()), None)


# ---- what counts in a file ------------------------------------------------------------------------------------


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def _digest_of_file(path: Path) -> str:
    """Digest of the syntax tree of a file without docstrings, logging and messages."""
    return hashlib.sha256("".join(_as_text(_parsed(path), path.name == "__init__.py")).encode()).hexdigest()


def _as_text(node: object, is_init: bool = False) -> Iterator[str]:
    """A tree as text. Empty fields are left out, because newer versions of Python add some."""
    if isinstance(node, list):
        yield "["
        for item in _without_about_blocks(node):
            if not _has_no_result(item, is_init):
                yield from _as_text(item)
                yield ","
        yield "]"
    elif isinstance(node, ast.AST):
        yield type(node).__name__
        yield "("
        for name in node._fields:
            value = _without_messages(node, name)
            if value is not None and value != [] and name not in ("ctx", "type_comment", "kind"):
                yield f"{name}="
                yield from _as_text(value, is_init and isinstance(node, ast.Module))
        yield ")"
    else:
        yield repr(node)


def _without_about_blocks(nodes: Iterable[object]) -> Iterator[object]:
    """Statements without the ``with about(...)`` around them, which only completes error messages (prh.jobs.about)."""
    for node in nodes:
        kept = [item for item in node.items if not _is_about(item.context_expr)] if isinstance(node, ast.With) else None
        if kept == []:
            yield from _without_about_blocks(node.body)
        else:
            yield node if kept is None else ast.With(items=kept, body=node.body)


def _is_about(call: ast.expr) -> bool:
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "about"


def _has_no_result(node: object, is_init: bool) -> bool:
    """Whether a statement cannot change a result: a docstring, a log line, an import of excluded modules, or a constant
    such as ``__all__``.
    """
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or (_is_log_call(node.value) and _arguments_are_pure(node.value))
    if isinstance(node, ast.ImportFrom | ast.Import) and (is_init or _imports_excluded_only(node)):
        return True
    names = node.targets if isinstance(node, ast.Assign) else []
    return bool(names) and all(isinstance(name, ast.Name) and name.id in IGNORED_CONSTANTS for name in names)


def _imports_excluded_only(node: ast.ImportFrom | ast.Import) -> bool:
    """Whether an import names excluded modules only; code may move between those."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module or ""] if _is_excluded(node.module or "") else [f"{node.module}.{name}" for name in names]
    return all(map(_is_excluded, names))


def _is_log_call(call: ast.expr) -> bool:
    """Whether an expression is a call of ``print`` or of a logger."""
    if not isinstance(call, ast.Call):
        return False
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id in LOGGERS and function.attr in LOGGING_METHODS
    return isinstance(function, ast.Name) and function.id == "print"


def _arguments_are_pure(call: ast.Call) -> bool:
    """Whether the arguments of a call have no side effects; drawing a random number for a log has one."""
    for node in (part for argument in [*call.args, *call.keywords] for part in ast.walk(argument)):
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name not in PURE_CALLS:
                return False
    return True


def _without_messages(node: ast.AST, field: str) -> object:
    """A field of a node without the wording of errors, help texts and titles."""
    value = getattr(node, field, None)
    if not isinstance(node, ast.Call):
        if isinstance(node, ast.Raise) and field == "exc" and isinstance(value, ast.Call):
            arguments = [argument for argument in value.args if not _is_text(argument)]
            return ast.Call(func=value.func, args=arguments, keywords=value.keywords)
        return value
    called = getattr(node.func, "attr", getattr(node.func, "id", None))
    if field == "keywords" and called in ("add_argument", "ArgumentParser"):
        return [keyword for keyword in value if keyword.arg not in HELP_ARGUMENTS]
    if field == "args" and (called == "Progress" or _is_log_call(node)):
        return [argument for argument in value if not _is_text(argument)]
    return value


def _is_text(node: ast.expr) -> bool:
    """Whether an expression is a string literal, or joins or chooses between them."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
