"""A run holds its results against other runs; killed without a warning, it takes its jobs with it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.waiting import wait_for
from tests.workflow.conftest import lay_out

pytestmark = pytest.mark.slow

TARGET = "models/slow/weights.json"


def endless(results, *, forkserver: bool) -> dict:
    """An experiment whose model of the world trains for hours."""
    training = {"architecture": "gpt2", "steps": 10_000_000}
    return {
        "results": str(results),
        "datasets": [{"name": "world", "source": "world"}],
        "models": [
            {"name": "slow", "modality": "language", "source": "world", "training": training},
            {"name": "reality", "modality": "world"},
        ],
        "world": {"events": 64},
        "alignment": {"k": [5]},
        "compute": {"forkserver": forkserver},
    }


def trainings(results: Path) -> list[int]:
    """The processes that train a model into ``results``."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        trains = any(b"train_model.py" in word for word in command) and b"bash" not in command[0]
        if state != "Z" and trains and any(os.fsencode(results) in word for word in command):
            pids.append(int(process.name))
    return pids


@pytest.fixture
def started(repository, tmp_path, request):
    """A run in the folder ``one`` that is training, and a folder ``two`` with the same results."""
    results = tmp_path / "shared"
    one, two = (
        lay_out(repository, tmp_path / name, endless(results, forkserver=request.param)) for name in ("one", "two")
    )
    log = results / "logs/train_model/slow.log"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = one.start("--cores", "1", str(results / TARGET), start_new_session=True, **quiet)
    try:
        wait_for(lambda: log.is_file() and "train_model.py" in log.read_text(), 90)
        time.sleep(1)
        yield run, one, two, results
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        for process in trainings(results):
            os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("started", [False, True], indirect=True, ids=["fresh", "forked"])
def test_a_second_run_is_refused_and_a_killed_one_leaves_nothing_behind(started):
    run, one, two, results = started
    dataset = str(results / "datasets/world/source.json")

    refused = two.snakemake("--cores", "1", dataset, check=False)
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert f"{results} is in use by another run (process {run.pid} on " in said
    assert f"started in {one.folder} at" in said
    assert "Traceback" not in said
    assert not Path(dataset).exists()
    assert run.poll() is None, "the first run goes on"
    assert two.would_run(dataset), "a plan needs no lock"

    assert trainings(results)
    os.kill(run.pid, signal.SIGKILL)  # it alone: not its process group
    run.wait()
    wait_for(lambda: not trainings(results), 20)
    one.snakemake("--unlock")
    two.snakemake("--cores", "1", dataset)
    assert Path(dataset).exists()
    assert not (results / TARGET).exists()


def test_changed_local_weights_are_noticed(workflow):
    vectors = workflow.folder / "words0/vectors.safetensors"
    before = vectors.stat()
    os.utime(vectors)
    os.utime(workflow.folder / "words0")
    workflow.run()  # looks at them again, and finds the same
    features = workflow.folder / "results/features/colours/words.parquet"
    assert features.stat().st_mtime < vectors.stat().st_mtime, "what was touched is not computed again"
    assert workflow.would_run() == {}

    time.sleep(0.1)
    content = bytearray(vectors.read_bytes())
    content[-5] ^= 0x10  # another number, the same size
    vectors.write_bytes(content)
    workflow.run()
    assert vectors.stat().st_size == before.st_size
    features = workflow.folder / "results/features/colours"
    assert (features / "words.parquet").stat().st_mtime > vectors.stat().st_mtime
    assert (features / "other.parquet").stat().st_mtime < vectors.stat().st_mtime, "the other model is as it was"
    assert workflow.would_run() == {}
