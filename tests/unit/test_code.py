"""The digest of the code of a job changes with what can change its result, and with nothing else."""

import json
import subprocess
import sys

import pytest

from prh.experiment import code

PACKAGE = {
    "prh/__init__.py": "",
    "prh/a.py": "import numpy\nfrom prh import b\nfrom prh.jobs.progress import Progress",
    "prh/b.py": "def f():\n    from prh.sub import x\n    return x",
    "prh/jobs/progress.py": "import prh.unused",
    "prh/sub/__init__.py": "from prh.sub.c import x\nfrom prh.sub.d import y\n__all__ = ['x', 'y']",
    "prh/sub/c.py": "x = 1",
    "prh/sub/d.py": "y = 1",
    "prh/typing_only.py": "",
    "prh/unused.py": "",
    "script.py": "import prh.a\nif TYPE_CHECKING:\n    from prh import typing_only",
}


def write(library, files):
    for name, text in files.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(text)


def names(library, *roots):
    return [path.relative_to(library).as_posix() for path in code.modules(roots, library)]


def test_code_of_a_job_is_what_it_imports(tmp_path):
    """Not what it is wrapped in, and of a package that hands on names only the modules that it has these from."""
    write(tmp_path, PACKAGE)
    assert names(tmp_path, "script.py") == ["prh/a.py", "prh/b.py", "prh/sub/c.py", "script.py"]
    assert names(tmp_path, "script.py", "prh.sub.d") == [*names(tmp_path, "script.py")[:3], "prh/sub/d.py", "script.py"]


def test_a_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"prh\.nothing is not a program or module"):
        code.digest(["prh.nothing"], tmp_path)


@pytest.mark.parametrize(
    "roots",
    [
        ("features.py", "prh.modalities.vision"),
        ("features.py", "prh.modalities.language"),
        ("probes.py",),
        ("given.py", "prh.models.given.features"),
    ],
)
def test_a_reader_of_sources_is_no_code_of_what_reads_shards(roots):
    """A mend in a reader of CSV files extracts no feature again."""
    datasets = {path.name for path in code.modules(roots) if path.parent.name == "datasets"}
    assert datasets == {"errors.py", "shards.py"}


@pytest.mark.parametrize(
    "program", ["download_dataset.py", "download_model.py", "download_task.py", "download_text.py"]
)
def test_what_is_done_with_a_download_is_no_code_of_it(program):
    done_with_it = {"images.py", "sharding.py", "causal_models.py", "bits_per_byte.py", "harness.py", "loading.py"}
    assert not done_with_it & {path.name for path in code.modules([program])}


def test_checks_of_texts_are_no_code_of_vision():
    assert "text_checks.py" not in {path.name for path in code.modules(["features.py", "prh.modalities.vision"])}


PROGRAM = '''"""A module."""
import logging
from prh.jobs.progress import Progress

log = logging.getLogger(__name__)


def f(values):
    """Add."""
    if not values:
        raise ValueError(f"no {values}; give some.")
    log.info("adding %s", len(values))
    with Progress("adding", total=3):
        return sum(values) + 1
'''


def digest(folder, text):
    folder.mkdir()
    write(folder, {"script.py": text})
    return code.digest(["script.py"], folder)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("A module.", "Another docstring.", False),
        ("    return sum", "    # a comment\n        return sum", False),
        ("sum(values) + 1", "(sum(values)  +  1)", False),
        ('    """Add."""\n', "", False),
        ('"adding %s", len', '"I add %s", len', False),
        ('    log.info("adding %s", len(values))\n', "", False),
        ("; give some.", "; give at least one.", False),
        ('Progress("adding"', 'Progress("summing"', False),
        ("prh.jobs.progress import", "prh.jobs.bars import", False),
        ("from prh.jobs.progress", "import prh.io.versions\nfrom prh.jobs.progress", False),
        ("from prh.jobs.progress", "from prh.io import addresses\nfrom prh.jobs.progress", False),
        ("from prh.jobs.progress", "from prh.io import addresses, files\nfrom prh.jobs.progress", True),
        ("    return sum", "    print('adding', values)\n        return sum", False),
        ("    return sum", "    print(values.pop())\n        return sum", True),
        ("    return sum", "    print(values := [])\n        return sum", True),
        ("+ 1", "+ 2", True),
        ("ValueError", "KeyError", True),
        ("not values", "values", True),
        ("total=3", "total=4", True),
        ("import logging\n", "import logging\n\nPRELOAD = ['torch']\n", False),
        ("import logging\n", "import logging\n\nlog = PRELOAD = ['torch']\n", True),
        ("        return sum", "        with about(f'{values}'):\n            return sum", False),
        ('with Progress("adding", total=3)', 'with about("x"), Progress("adding", total=3)', False),
        ("        return sum", "        with open(values):\n            return sum", True),
    ],
)
def test_what_is_said_only_is_no_code(tmp_path, old, new, changes):
    assert old in PROGRAM
    before, after = digest(tmp_path / "a", PROGRAM), digest(tmp_path / "b", PROGRAM.replace(old, new))
    assert (before != after) == changes


LOADED_BY_EACH = """
import json, runpy, sys
loaded = {}
for script in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "prh"]:
        del sys.modules[name]  # the heavy libraries stay: they take seconds
    runpy.run_path(script, run_name="imported")
    loaded[script] = {name: m.__file__ for name, m in sys.modules.items() if name.split(".")[0] == "prh"}
print(json.dumps(loaded))
"""


REGISTRIES = (
    *("prh.core.metrics", "prh.studies"),
    *("prh.modalities.base", "prh.modalities.registry", "prh.modalities.loading", "prh.io.functions"),
    "prh.downloads.sources",
)
"""What the ``__init__`` of a registry imports for whoever asks it."""


@pytest.mark.slow
def test_declared_code_holds_all_that_each_script_loads():
    """But for what jobs are wrapped in (with what that imports), and members of registries that a job may not use."""
    scripts = sorted(str(path) for path in code.LIBRARY.glob("*.py"))
    done = subprocess.run([sys.executable, "-c", LOADED_BY_EACH, *scripts], capture_output=True, text=True, check=True)
    excluded = ["prh.experiment.loading", "prh.downloads.lockfile", "prh.core.sweeps", "prh.io.files"]
    by_excluded = {str(path) for path in code.modules(excluded)}
    for script, loaded in json.loads(done.stdout).items():
        declared = {str(path) for path in code.modules([script.rsplit("/", 1)[-1]])} | by_excluded
        left_out = {name for name, path in loaded.items() if path not in declared}
        packages = {name for name in left_out if loaded[name].endswith("__init__.py")}
        registries = packages | {name for name in left_out if name.startswith(REGISTRIES)}
        prefixes = tuple(f"{name}." for name in code.EXCLUDED)
        counted = {name for name in left_out - registries if name != "prh" and not f"{name}.".startswith(prefixes)}
        assert counted == set(), script
