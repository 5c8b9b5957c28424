"""Through a real SLURM of one node: the profiles of clusters, a job that fails once, one that is cancelled, and GPUs."""

import fcntl
import os
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from tests.workflow.conftest import lay_out, small_real_mini, small_world

pytestmark = [pytest.mark.slow, pytest.mark.whole]

NODE = Path(__file__).with_name("slurm_node.sh")
ON_GPUS = ["features.py", "bits_per_byte.py", "harness.py"]
ON_THE_LOGIN_NODE = ["download_dataset.py", "download_model.py", "download_task.py", "download_text.py"]
# Little waiting, three jobs at once, and one retry; all else is the profile's.
QUICKLY = ["--jobs", "3", "--latency-wait", "5", "--retries", "1"]
SLURM = ["--profile", "profiles/slurm", *QUICKLY,
         "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]  # fmt: skip
GENERIC = ["--profile", "profiles/generic", *QUICKLY, "--seconds-between-status-checks", "2"]

# Python runs it at every start. Each program of the workflow leaves a line: which job it was, which GPU it saw, and when.
# One fails at its first attempt; one cancels its own job as often as it starts, while the file "cancel" is there.
SITECUSTOMIZE = """
import atexit, os, subprocess, sys, time
from pathlib import Path

folder, arguments = Path(__file__).parent, " ".join(sys.orig_argv)
if sys.orig_argv[1:2] and sys.orig_argv[1].startswith("workflow_scripts/"):
    program, job = Path(sys.orig_argv[1]).name, os.environ.get("SLURM_JOB_ID", "")
    gpu, started = os.environ.get("CUDA_VISIBLE_DEVICES", ""), time.time()

    def write_down():
        with open(folder / "ran.csv", "a") as stream:
            stream.write(f"{program},{job},{gpu},{started},{time.time()}\\n")

    atexit.register(write_down)
    if program == "train_model.py" and "models/random-vit/" in arguments:
        with open(folder / "attempts", "a") as stream:
            stream.write(job + "\\n")
        if len((folder / "attempts").read_text().split()) == 1:
            raise SystemExit("injected: the first attempt fails")
    if program == "features.py" and "models/llama-w48-300/" in arguments and (folder / "cancel").exists():
        subprocess.run(["scancel", job])
        time.sleep(60)
"""


@pytest.fixture(scope="module")
def node():
    """A SLURM for the tests of this module. There is one on a machine: who else wants it waits."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to start a SLURM on this machine")
    with open("/var/tmp/prh-slurm.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = shutil.which("slurmctld") and shutil.which("munged")
        for step in ["start"] if there else ["install", "start"]:
            done = subprocess.run([NODE, step], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no SLURM on this machine: {NODE.name} {step}: {(done.stdout + done.stderr)[-300:]}")
        yield
        subprocess.run(["scancel", "--user", "root"], check=True)
        subprocess.run([NODE, "stop"], check=True)


def watched(workflow):
    """The workflow, with programs that leave lines in ``watch/ran.csv``, by ``SITECUSTOMIZE``."""
    watch = workflow.folder / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(SITECUSTOMIZE)
    workflow.environment["PYTHONPATH"] = f"{watch}{os.pathsep}{workflow.environment['PYTHONPATH']}"
    return workflow


def ran(workflow) -> pl.DataFrame:
    """One row for each program that ended by itself: program, job of SLURM, GPU, start and end in seconds."""
    columns = {"program": pl.String, "job": pl.String, "gpu": pl.String, "start": pl.Float64, "end": pl.Float64}
    return pl.read_csv(workflow.folder / "watch/ran.csv", has_header=False, schema=columns)


def times_of_features(workflow) -> dict[str, int]:
    return {path.stem: path.stat().st_mtime_ns for path in workflow.folder.glob("results/features/world/*.parquet")}


@pytest.fixture(scope="module")
def world(node, repository, tmp_path_factory):
    """The small world after two runs through SLURM, what the first of them left, and the memory of each job."""
    workflow = watched(lay_out(repository, tmp_path_factory.mktemp("world"), small_world(repository)))
    (workflow.folder / "watch/cancel").touch()
    first = workflow.snakemake(*SLURM, check=False)
    assert first.returncode != 0, first.stdout + first.stderr
    left = times_of_features(workflow)
    (workflow.folder / "watch/cancel").unlink()
    workflow.snakemake(*SLURM)
    jobs = subprocess.run(["squeue", "--states=all", "--noheader", "--format=%i %m"], capture_output=True, text=True)
    return workflow, left, dict(line.split() for line in jobs.stdout.splitlines())


def test_the_world_runs_to_its_figures(world):
    workflow, *_ = world
    figures = {path.name for path in workflow.folder.glob("results/figures/world/mutual_knn_k5/*.png")}
    assert {"alignment_matrix.png", "cross_modal.png", "figure3.png", "figure4.png"} <= figures
    assert workflow.would_run() == {}


def test_downloads_run_on_the_login_node_and_all_else_in_jobs(world):
    table = ran(world[0])
    outside = table.filter(pl.col("job").fill_null("") == "")["program"].unique().to_list()
    assert set(outside) <= set(ON_THE_LOGIN_NODE)
    assert "download_dataset.py" in outside
    assert not set(ON_THE_LOGIN_NODE) & set(table.filter(pl.col("job") != "")["program"])


def test_a_job_that_fails_comes_back_with_more_memory(world):
    workflow, _, memory = world
    first, second = (workflow.folder / "watch/attempts").read_text().split()
    assert (memory[first], memory[second]) == ("2000M", "4000M")
    assert (workflow.folder / "results/models/random-vit/weights.json").exists()


def test_a_cancelled_job_is_picked_up_by_the_next_run(world):
    workflow, left, _ = world
    now = times_of_features(workflow)
    assert now.keys() - left.keys() == {"llama-w48-300"}
    assert {model: now[model] for model in left} == left, "features that were finished were computed again"


def test_gpu_jobs_never_share_one_and_others_have_none(world):
    table = ran(world[0])
    on_gpus = table.filter(pl.col("program").is_in(ON_GPUS))
    assert set(on_gpus["gpu"]) == {"0", "1"}
    pairs = list(combinations(on_gpus.iter_rows(named=True), 2))
    at_once = [(a, b) for a, b in pairs if a["start"] < b["end"] and b["start"] < a["end"]]
    assert at_once, "no two jobs ran at once: this test saw nothing"
    assert all(a["gpu"] != b["gpu"] for a, b in at_once)
    others = table.filter(~pl.col("program").is_in(ON_GPUS) & (pl.col("job") != ""))
    assert set(others["gpu"].fill_null("")) <= {"", "NoDevFiles"}


def test_real_mini_runs_through_any_submit_command(node, repository, real, tmp_path):
    folder = tmp_path / "prh"
    settings = small_real_mini(repository, folder)
    kept = {"mobilenet_v1_0.25", "mobilenet_v1_0.50", "stories260K", "glove25"}
    settings["models"] = [entry for entry in settings["models"] if entry["name"] in kept]
    settings["datasets"] = [entry for entry in settings["datasets"] if entry["name"] == "flickr1k"]
    del settings["probes"]
    settings["texts"] = [entry | {"documents": 20} for entry in settings["texts"]]
    del settings["harness"]
    workflow = watched(lay_out(repository, folder, settings))
    workflow.snakemake(*GENERIC)
    figures = {path.name for path in (folder / "results/figures/flickr1k").rglob("*.png")}
    assert {"alignment_matrix.png", "cross_modal.png", "layer_matrix_strongest.png"} <= figures
    table = ran(workflow)
    assert set(table.filter(pl.col("program").is_in(ON_GPUS))["gpu"]) <= {"0", "1"}
    assert set(table.filter(pl.col("job").fill_null("") == "")["program"]) <= set(ON_THE_LOGIN_NODE)
    assert workflow.would_run() == {}


@pytest.mark.parametrize(("state", "answer"), [
    ("PENDING", "running"), ("RUNNING", "running"), ("COMPLETING", "running"), ("COMPLETED", "success"),
    ("FAILED", "failed"), ("CANCELLED", "failed"), ("OUT_OF_MEMORY", "failed"), ("", "failed"),
])  # fmt: skip
def test_the_status_script_knows_every_end(repository, tmp_path, state, answer):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho JobId=7 JobState={state} Reason=None\n" if state else "#!/bin/sh\nexit 1\n")
    scontrol.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    script = repository / "profiles/generic/status.sh"
    assert subprocess.check_output([script, "7"], env=environment, text=True).strip() == answer
