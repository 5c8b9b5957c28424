"""Jobs that are forked: what they make, and what is left of their server when snakemake has ended."""

import shutil
import subprocess
import sys

import psutil
import pytest

from tests.waiting import wait_for
from tests.workflow.conftest import lay_out, small_world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only"),
]


def servers(workflow) -> list[psutil.Process]:
    """The servers of runs in the folder of a workflow, and their forks."""
    program = str(workflow.folder / "forkserver/forkserver.py")
    return [process for process in psutil.process_iter(["cmdline"]) if program in (process.info["cmdline"] or ())]


NEIGHBOURS = "results/neighbours/colours/vit.parquet"
ROW = "results/alignment/colours/mutual_knn/words.parquet"


def make_again(workflow, *arguments) -> set[str]:
    """Search all neighbours and compare them anew; the modules that a search has imported."""
    for table in (NEIGHBOURS, ROW):
        (workflow.folder / table).unlink()
    workflow.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    workflow.run(*arguments, "--", ROW)
    lines = (workflow.folder / "results/logs/neighbours/colours/vit.log").read_text().splitlines()
    return {line.split("|")[-1].strip() for line in lines if line.startswith("import time:")}


def tables_of(folder) -> dict[str, bytes]:
    found = {
        str(path.relative_to(folder)): path for path in folder.rglob("*.parquet") if path.name != "timings.parquet"
    }
    return {name: path.read_bytes() for name, path in found.items()}


@pytest.mark.whole
def test_forks_make_what_processes_make(repository, tmp_path):
    """Every table but those of the trainings, which both start from: they take most of the time."""
    forks = lay_out(repository, tmp_path / "forks", small_world(repository))
    forks.run()
    made = tables_of(forks.folder / "results")
    assert {name.split("/")[0] for name in made} == {
        *("datasets", "features", "neighbours", "alignment", "competence", "tables")
    }
    processes = forks.copy(tmp_path / "processes")
    for name in ("features", "neighbours", "alignment", "competence", "tables", "figures"):
        shutil.rmtree(processes.folder / "results" / name)
    processes.experiment["compute"]["forkserver"] = False
    processes.run("--", *(f"results/{name}" for name in made if not name.startswith("datasets/")))
    again = tables_of(processes.folder / "results")
    assert made.keys() == again.keys()
    assert [name for name, content in made.items() if content != again[name]] == []


@pytest.mark.parametrize("forkserver", [True, False])
def test_forks_find_libraries_imported_and_leave_nothing_behind(workflow, forkserver):
    workflow.experiment["compute"] = {"forkserver": forkserver}
    imported = make_again(workflow)
    assert "prh.core.neighbours" in imported
    assert ("torch" in imported) != forkserver
    wait_for(lambda: not servers(workflow), otherwise="the server does not end")


def test_jobs_with_an_environment_of_their_own_are_not_forked(workflow):
    """They need not run in the Python that runs snakemake."""
    assert "torch" in make_again(workflow, "--sdm", "env-modules")


def test_forks_end_with_a_snakemake_that_is_killed_alone(workflow):
    for name in ("features", "neighbours", "alignment", "tables", "figures"):
        shutil.rmtree(workflow.folder / "results" / name)
    run = workflow.start("--cores", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(servers(workflow)) > 1, otherwise="nothing is forked")
    run.kill()
    run.wait()
    wait_for(lambda: not servers(workflow), otherwise="the server or a fork does not end")
    workflow.snakemake("--unlock")
    workflow.run()
    assert workflow.would_run() == {}
