"""The package as others install it: built from a clone, installed where there is no repository, used and run there."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser

import pytest
import yaml

from tests.workflow.conftest import words, write_data, write_word_vectors

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("build", "hatchling", "hatch_vcs")),
        reason="needs build, hatchling and hatch-vcs (make env)",
    ),
]

LIGHT = {"numpy", "scipy", "torch"}
"""What the library's example may import, with what these import themselves."""
HEAVY = {"timm", "transformers", "datasets", "huggingface_hub", "torchvision", "matplotlib", "snakemake", "lm_eval"}
EXAMPLE = """
import sys
import numpy as np
rng = np.random.default_rng(0)
layers_x = [rng.normal(size=(60, width)).astype(np.float32) for width in (8, 16)]
layers_y = [layer @ rng.normal(size=(layer.shape[1], 5)).astype(np.float32) for layer in layers_x]
{example}
assert 0 < alignment.best <= 1 and 0 < alignment.p < 0.05, alignment
representations = [prh.Representation(name, layers) for name, layers in (("x", x), ("y", y))]
assert prh.compare(*representations, metric="cka").scores.shape == (2, 2)
import prh as library
print(library.__file__)
print(*sorted({{name.split(".")[0] for name in sys.modules}}))
"""


def run(*command, folder, **environment) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def copied(repository, folder):
    """The files that git knows of, as they are now, without git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("needs a clone: git lists the files")
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def clone(repository, tmp_path_factory):
    """A clone with one commit and no tag."""
    folder = copied(repository, tmp_path_factory.mktemp("clone"))
    run("git", "init", "-q", folder=folder)
    run("git", "add", "-A", folder=folder)
    run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "all", folder=folder)
    return folder


@pytest.fixture(scope="module")
def built(clone):
    """The wheel and the sdist that `python -m build` makes; the wheel is built from the unpacked sdist."""
    run(sys.executable, "-m", "build", "--no-isolation", folder=clone)
    assert run("git", "status", "--porcelain", folder=clone) == ""
    (wheel,), (sdist,) = (clone / "dist").glob("*.whl"), (clone / "dist").glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def python(built, tmp_path_factory):
    """The Python of a fresh environment with the wheel in it, which borrows the libraries of this one."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, folder=environment)
    python = environment / "bin/python"
    wheel = built[0]
    install = ("install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install, folder=environment)
    paths = [path for path in sys.path if path.endswith("site-packages")] or [sysconfig.get_path("purelib")]
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text("\n".join(paths) + "\n")
    return python


def metadata_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_library_its_licence_and_the_workflow(built, repository):
    with zipfile.ZipFile(built[0]) as archive:
        names = set(archive.namelist())
    assert {"prh/__init__.py", "prh/py.typed", "prh/experiment/defaults.json"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    for part in ("Snakefile", "config.yaml", "rules", "profiles", "resources", "experiments", "forkserver"):
        of_part = repository.joinpath(part)
        paths = [path for path in of_part.rglob("*") if path.is_file()] if of_part.is_dir() else [of_part]
        wanted = {path.relative_to(repository).as_posix() for path in paths if "__pycache__" not in path.parts}
        assert {f"prh/workflow/{path}" for path in wanted} <= names
    programs = {f"prh/workflow/workflow_scripts/{path.name}" for path in repository.glob("workflow_scripts/*.py")}
    assert programs <= names
    assert not any("tests" in name or "__pycache__" in name for name in names)


def test_the_version_comes_from_git_and_from_the_metadata_of_an_sdist(built, clone, repository, tmp_path):
    wheel, sdist = built
    assert re.fullmatch(r"0\.\d+\.dev\d+\+g[0-9a-f]+", metadata_of(wheel)["Version"])
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", folder=unpacked)
    (again,) = (unpacked / "dist").glob("*.whl")
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()

    tagged = tmp_path / "tagged"
    shutil.copytree(clone, tagged, ignore=shutil.ignore_patterns("dist"))
    run("git", "tag", "v1.2.3", folder=tagged)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", folder=tagged)
    assert [path.name for path in (tagged / "dist").glob("*.whl")] == ["prh-1.2.3-py3-none-any.whl"]

    bare = copied(repository, tmp_path / "bare")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", folder=bare)
    assert [path.name for path in (bare / "dist").glob("*.whl")] == ["prh-0.1.dev0-py3-none-any.whl"]


def test_twine_finds_nothing_wrong(built, tmp_path):
    if importlib.util.find_spec("twine") is None:
        pytest.skip("needs twine, which is not part of the environment")
    said = run(sys.executable, "-m", "twine", "check", "--strict", *built, folder=tmp_path)
    assert said.count("PASSED") == 2


def test_the_extras_bring_what_the_base_leaves_out(built):
    required = metadata_of(built[0]).get_all("Requires-Dist")
    base = {re.split(r"[ ><=;\[]", line)[0] for line in required if "extra ==" not in line}
    assert {"numpy", "scipy", "polars", "pyarrow", "torch"} <= base
    assert not base & {"timm", "transformers", "datasets", "matplotlib", "snakemake", "umap-learn", "lm-eval"}
    extras = {
        extra: {re.split(r"[ ><=;]", line)[0] for line in required if f"'{extra}'" in line}
        for extra in ("models", "workflow")
    }
    assert {"timm", "transformers", "datasets"} <= extras["models"] < extras["workflow"]
    assert "snakemake" in extras["workflow"] - extras["models"]


def test_the_example_of_the_readme_runs_there_without_the_libraries_of_models(python, repository, tmp_path):
    (example,) = re.findall(r"## As a library.*?```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    said = run(python, "-c", EXAMPLE.format(example=example), folder=tmp_path).splitlines()
    assert said[-2].startswith(str(python.parents[1]))
    imported = set(said[-1].split())
    assert imported >= LIGHT
    assert not imported & HEAVY


def test_the_workflow_runs_there(python, tmp_path, repository):
    """A dry run of a whole experiment, and its jobs up to neighbours, with the programs of the package."""
    write_data(tmp_path / "data")
    write_word_vectors(tmp_path / "words0", 0)
    experiment = {
        "datasets": [{"name": "colours", "source": "local", "path": "data"}],
        "models": [
            words("words", "words0"),
            {"from": "resources/models/vision.yaml", "only": ["vit-tiny-in21k", "vit-small-in21k"]},
        ],
        "alignment": {"k": [3], "k_max": 5, "permutations": 0, "subsamples": 0, "splits": 0},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(experiment))
    prh = python.with_name("prh")
    snakefile = run(prh, "workflow", folder=tmp_path).strip()
    assert snakefile.startswith(str(python.parents[1]))
    assert "wrote data.yaml" in run(prh, "init", "data", folder=tmp_path)
    assert "vit-tiny-in21k" in run(prh, "plan", "--configfile", "data.yaml", "--offline", "--tflops=1", folder=tmp_path)
    begun = run(python, "-m", "snakemake", "-s", snakefile, "--configfile", "data.yaml", "-n", folder=tmp_path)
    assert "SmolLM2-135M" in begun
    snakemake = (python, "-m", "snakemake", "-s", snakefile, "--configfile", "mine.yaml")
    plan = run(*snakemake, "-n", "-q", "rules", folder=tmp_path)
    assert re.search(r"features +3\n", plan)
    run(*snakemake, "--cores", "2", "--", "results/neighbours/colours/words.parquet", folder=tmp_path)
    assert (tmp_path / "results/neighbours/colours/words.parquet").is_file()
    assert "prh/workflow" not in {path.parent.name for path in tmp_path.rglob("*")}

    # the same experiment run with the repository finds nothing to do: the digests of the code are the same
    here = (sys.executable, "-m", "snakemake", "-s", repository / "Snakefile", "--configfile", "mine.yaml", "-n")
    assert "Nothing to be done" in run(*here, "--", "results/neighbours/colours/words.parquet", folder=tmp_path)
