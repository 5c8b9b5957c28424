"""The rooms of the library: which may use which. docs/architecture.md draws them."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import prh

LIBRARY = Path(prh.__file__).parent
ORDER = (
    *("core", "io", "jobs", "downloads", "models", "datasets", "modalities", "features"),
    *("alignment", "competence", "figures", "studies", "world", "experiment", "bank"),
)
"""Each room may use those before it, none may use one after it."""
LONGEST = 350
LONGER: set[str] = set()
"""Files that have more lines than that: this list may only shrink."""


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a tree but those that are for type checkers only."""
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from running(child)


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, also inside functions."""
    names = set()
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name the whole path"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def uses(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("prh.")}


def test_every_module_is_in_a_room():
    assert {path.name for path in LIBRARY.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_no_room_uses_a_later_one(room):
    allowed = set(ORDER[: ORDER.index(room) + 1])
    wrong = {str(path.relative_to(LIBRARY)): uses(path) - allowed for path in (LIBRARY / room).rglob("*.py")}
    assert {path: rooms for path, rooms in wrong.items() if rooms} == {}


def test_the_core_uses_nothing_else():
    assert {room for path in (LIBRARY / "core").rglob("*.py") for room in uses(path)} == {"core"}


def test_the_schema_of_an_experiment_uses_no_other_code_of_it():
    """Every job reads its entry through the schema: it must be quick to import, and know nothing of plans or checks."""
    for path in (LIBRARY / "experiment/schema").glob("*.py"):
        used = {name.rpartition(".")[0] for name in imported(path) if name.startswith("prh.")}
        registries = {
            "prh.modalities.base",
            "prh.downloads.sources",
        }  # light, and asked which entries there are besides
        assert all(name.startswith(("prh.experiment.schema.", "prh.io.")) for name in used - registries), path


def test_no_file_is_too_long_to_be_read_at_once():
    lines = {
        path.relative_to(LIBRARY).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in LIBRARY.rglob("*.py")
    }
    assert {path for path, count in lines.items() if count > LONGEST} <= LONGER


def test_no_two_public_classes_have_one_name():
    homes = defaultdict(list)
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(path.relative_to(LIBRARY).as_posix())
    assert {"Alignment", "PairAlignment", "World", "IdealisedWorld"} <= homes.keys()
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_every_room_says_what_it_is_for():
    for room in ORDER:
        assert ast.get_docstring(ast.parse((LIBRARY / room / "__init__.py").read_text(encoding="utf-8"))), room


def test_no_library_code_knows_snakemake_or_the_command_line():
    for path in LIBRARY.rglob("*.py"):
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for name in (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
            )
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert "snakemake" not in imported, path
        if "argparse" in imported:
            assert path.name in ("arguments.py", "__main__.py", "specs.py"), path
