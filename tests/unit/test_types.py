"""The public face as a type checker sees it."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import prh

CALLER = """
import numpy as np
import prh

layers = [np.zeros((9, 3), np.float32)]
x = prh.prepare(layers)
alignment = prh.align(x, x, metric="mutual_knn", k=2, permutations=9)
reveal_type(alignment)
reveal_type(alignment.best)
prh.align(x, x, metric=1)
prh.compare(layers, layers)
"""


def test_type_checkers_are_told_the_homes_that_names_are_imported_from():
    tree = ast.parse(Path(prh.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.asname: line.module for line in block.body for alias in line.names}
    assert told == prh._HOMES | {"metrics": "prh.core"}
    assert all(alias.name == alias.asname for line in block.body for alias in line.names)


@pytest.mark.slow
def test_the_public_modules_are_well_typed_and_callers_see_it(repository, tmp_path):
    pytest.importorskip("mypy", reason="needs mypy (make env)")
    caller = tmp_path / "caller.py"
    caller.write_text(CALLER)
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["mypy"]
    mypy = [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", *settings["files"], caller]
    said = subprocess.run(mypy, cwd=repository, capture_output=True, text=True, check=False).stdout
    assert 'Revealed type is "prh.core.alignment.PairAlignment"' in said
    assert 'Revealed type is "float"' in said or 'Revealed type is "builtins.float"' in said
    wrong = [line.split(": error: ")[0].split(":") for line in said.splitlines() if ": error: " in line]
    assert [(Path(path).name, int(line)) for path, line in wrong] == [("caller.py", 10), *[("caller.py", 11)] * 2], said
