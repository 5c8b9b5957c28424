"""The workflow runs from any folder, on its own or as a module of another: results lie where snakemake runs, and the code
is the workflow's own.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.workflow.conftest import lay_out, words, write_data, write_word_vectors

pytestmark = pytest.mark.slow

CHAIN = {"download_dataset": 1, "shard_dataset": 1, "download_model": 2, "features": 2, "neighbours": 2, "alignment": 2}
FIGURES = {"best_layers": 1, "study": 1, "draw": 2}
MODULE = """
configfile: "own.yaml"


module prh:
    snakefile:
        "{snakefile}"
    config:
        config["prh"]


use rule * from prh as prh_*


use rule neighbours from prh as prh_neighbours with:
    log:
        "own logs/{{dataset}}/{{model}}.txt",
    resources:
        mem_mb=2000,


rule mine:
    default_target: True
    input:
        "results/neighbours/colours/words.parquet",
        "results/neighbours/colours/other.parquet",
    output:
        "mine.txt",
    shell:
        "ls {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def installed(repository, tmp_path_factory):
    """The workflow in a folder of its own, in which nothing may be made."""
    folder = tmp_path_factory.mktemp("installed") / "the workflow"
    workflow = lay_out(repository, folder, {})
    shutil.copy(repository / "config.yaml", folder)
    return workflow.folder


@pytest.fixture
def mine(tmp_path):
    """A folder with data and an experiment, and nothing of the workflow."""
    folder = tmp_path / "mine"
    write_data(folder / "data")
    for seed in (0, 1):
        write_word_vectors(folder / f"words{seed}", seed)
    comparison = {"k": [3], "k_max": 20, "permutations": 0, "subsamples": 0, "splits": 0}
    experiment = {
        "datasets": [{"name": "colours", "source": "local", "path": "data", "image": None}],
        "models": [words("words", "words0"), words("other", "words1")],
        "alignment": comparison,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "own.yaml").write_text(yaml.safe_dump({"prh": experiment}))
    return folder


def snakemake(folder, *arguments, **environment) -> str:
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def jobs(said: str) -> dict[str, int]:
    table = re.search(r"job +count\n-[- ]+\n(.*?)\ntotal", said, re.DOTALL)
    rows = [line.split() for line in table.group(1).splitlines()]
    return {rule: int(count) for rule, count in rows if rule != "all"}


def files(folder) -> set:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts and path.is_file()}


def test_from_an_empty_folder(installed, mine):
    plan = snakemake(mine, "-n", "-q", "rules", "-s", installed / "Snakefile", "--configfile", "mine.yaml")
    assert jobs(plan) == {**CHAIN, **FIGURES}


def test_without_an_experiment_it_is_the_default_one(installed, tmp_path):
    plan = jobs(snakemake(tmp_path, "-n", "-q", "rules", "-s", installed / "Snakefile"))
    assert plan["train_model"] > 5


def test_a_registry_of_the_workflow_is_found_from_anywhere(installed, tmp_path):
    experiment = {
        "datasets": [{"name": "d", "source": "hub", "id": "a/b", "revision": "main"}],
        "models": [{"from": "resources/models/language.yaml", "only": ["bloomz-560m"]}],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(experiment))
    plan = snakemake(tmp_path, "-n", "-q", "rules", "-s", installed / "Snakefile", "--configfile", "mine.yaml")
    assert jobs(plan)["features"] == 1


def test_into_another_folder(installed, mine, tmp_path):
    options = ["-s", installed / "Snakefile", "--directory", mine, "--configfile", mine / "mine.yaml"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert jobs(snakemake(elsewhere, "-n", "-q", "rules", *options)) == {**CHAIN, **FIGURES}
    snakemake(elsewhere, "--cores", "2", *options, "--", "results/models/words/weights.json")
    assert (mine / "results/models/words/weights.json").is_file()
    assert not files(elsewhere)


def test_as_a_module_with_a_rule_of_ones_own(installed, mine, tmp_path):
    """And with another prh in the environment: code that would not even be imported."""
    foreign = tmp_path / "foreign/prh"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise ImportError('the wrong prh')\n")
    (mine / "Snakefile").write_text(MODULE.format(snakefile=installed / "Snakefile"))
    before = files(installed)
    other = {"PYTHONPATH": str(foreign.parent)}
    chain = {f"prh_{rule}": count for rule, count in CHAIN.items() if rule != "alignment"}
    assert jobs(snakemake(mine, "-n", "-q", "rules", **other)) == {**chain, "mine": 1}
    said = snakemake(mine, "--cores", "2", **other)
    assert "mem_mb=2000" in said
    assert (mine / "mine.txt").read_text().count("results/neighbours/colours/") == 2
    assert "neighbours" in (mine / "own logs/colours/words.txt").read_text()
    assert files(installed) == before
    assert "Nothing to be done" in snakemake(mine, "-n", **other)
