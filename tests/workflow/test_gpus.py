"""A workstation with two GPUs, which are pretended: who held which, when, and how many threads the programs computed with."""

import os
from itertools import combinations

import polars as pl
import pytest

from tests.workflow.conftest import experiment, lay_out, write_data, write_word_vectors

pytestmark = pytest.mark.slow

# Python runs it at every start. Each program leaves a line when it ends, and one for the time in which it held GPUs;
# so do those that are forked, which are watched from their fork on.
SITECUSTOMIZE = """
import atexit, os, sys, time
from contextlib import contextmanager
from multiprocessing import util
from pathlib import Path

def write_down(gpu, start):
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else ""
    pools = ""
    if "numpy" in sys.modules:
        import threadpoolctl
        pools = max((pool["num_threads"] for pool in threadpoolctl.threadpool_info()), default="")
    row = Path(sys.argv[0]).name, Path(called).name == "forkserver.py", gpu, threads, pools, start, time.time()
    with open(Path(__file__).with_name("ran.csv"), "a") as stream:
        print(*row, sep=",", file=stream)

called = "".join(sys.orig_argv[1:2])
if called.endswith("/forkserver.py"):
    def watch(_):
        began = time.time()
        util.Finalize(None, lambda: write_down("", began), exitpriority=0)

    util.register_after_fork(util, watch)
elif called.startswith("workflow_scripts/"):
    from prh.jobs import devices

    began, holding_gpus = time.time(), devices.holding_gpus

    @contextmanager
    def watched(*arguments, **options):
        with holding_gpus(*arguments, **options) as gpus:
            start = time.time()
            yield gpus
            if gpus:
                time.sleep(5 if gpus == ["0"] else 1)  # real work takes longer; not as long in all, or all end at once
                assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus)
                write_down("+".join(gpus), start)

    devices.holding_gpus = watched
    atexit.register(lambda: write_down("", began))
"""
COLUMNS = {"program": pl.String, "forked": pl.String, "gpu": pl.String, "torch": pl.Int64, "blas": pl.Int64,
           "start": pl.Float64, "end": pl.Float64}  # fmt: skip


def at_once(a: dict, b: dict) -> bool:
    return a["start"] < b["end"] and b["start"] < a["end"]


@pytest.fixture(scope="module")
def ran(repository, tmp_path_factory) -> pl.DataFrame:
    """What the programs of the small experiment wrote down, with four jobs for two GPUs and two threads for each job."""
    workflow = lay_out(repository, tmp_path_factory.mktemp("gpus"), experiment() | {"compute": {"threads": 2}})
    write_data(workflow.folder / "data")
    write_word_vectors(workflow.folder / "words0", 0)
    write_word_vectors(workflow.folder / "words1", 1)
    watch = workflow.folder / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(SITECUSTOMIZE)
    workflow.environment |= {
        "PYTHONPATH": f"{watch}{os.pathsep}{workflow.environment['PYTHONPATH']}",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "TMPDIR": str(watch),  # where the locks are
        "SLURM_JOB_ID": "1",  # as inside salloc: jobs of one allocation share its devices
    }
    workflow.snakemake("--cores", "8", "--resources", "gpu=2", "--", "results/tables/alignment.parquet")
    return pl.read_csv(watch / "ran.csv", has_header=False, schema=COLUMNS)


def test_no_two_jobs_hold_one_gpu_at_once_and_both_gpus_are_used(ran):
    held = ran.filter(pl.col("gpu").fill_null("") != "")
    assert held["program"].to_list() == ["features.py"] * 4
    assert set(held["gpu"]) == {"0", "1"}
    pairs = [pair for pair in combinations(held.iter_rows(named=True), 2) if at_once(*pair)]
    assert pairs, "no two jobs ran at once: this test saw nothing"
    assert all(a["gpu"] != b["gpu"] for a, b in pairs)


def test_jobs_without_a_gpu_run_beside_them(ran):
    """A features job has a GPU of Snakemake's from its start on, and takes it in hand only after its imports, which may
    last longer than a whole job without one: so the job counts, not the time in which it holds the lock.
    """
    whole = ran.filter(pl.col("gpu").fill_null("") == "")
    with_gpu = whole.filter(pl.col("program") == "features.py").rows(named=True)
    others = whole.filter(pl.col("program") != "features.py").rows(named=True)
    beside = {other["program"] for other in others for job in with_gpu if at_once(other, job)}
    assert beside & {"neighbours.py", "alignment.py"}


def test_jobs_that_may_take_a_gpu_are_not_forked(ran):
    forked = {program for program, is_forked in ran.select("program", "forked").rows() if is_forked == "True"}
    assert forked == {"neighbours.py", "alignment.py", "best_layers.py"}
    assert set(ran.filter(pl.col("program") == "features.py")["forked"]) == {"False"}


def test_threads_of_torch_and_blas_are_those_of_the_rule(ran):
    wanted = {"features.py": 2, "neighbours.py": 2, "shard_dataset.py": 2, "alignment.py": 1, "best_layers.py": 1}
    found = ran.filter(pl.col("program").is_in(wanted.keys()))
    assert set(found["program"]) == wanted.keys()
    for row in found.iter_rows(named=True):
        assert {row["torch"], row["blas"]} <= {wanted[row["program"]], None}, row
    assert set(found.filter(pl.col("program") == "features.py")["torch"]) == {2}
    assert set(found.filter(pl.col("program") == "alignment.py")["blas"]) == {1}
