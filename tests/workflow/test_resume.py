"""A run that is killed goes on where it was, and ends in the same tables."""

import shutil
import subprocess
import time

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.unit.test_features import layers_of
from tests.workflow import kill
from tests.workflow.conftest import lay_out

pytestmark = pytest.mark.slow


def finished_files(folder):
    """The features tables that the workflow has gone on from, with the time of their last change."""
    features = folder / "results/features/colours"
    done = [path.name for path in (folder / "results/neighbours/colours").glob("*.parquet")]
    return {name: (features / name).stat().st_mtime_ns for name in done}


def test_a_killed_run_goes_on(finished, workflow):
    for name in ("features", "neighbours", "alignment", "tables", "figures"):
        shutil.rmtree(workflow.folder / "results" / name)
    one_is_there = lambda: len(finished_files(workflow.folder)) >= 1  # noqa: E731
    assert kill.run_and_kill(workflow, one_is_there), "the run ended before it was killed"
    kept = finished_files(workflow.folder)
    assert len(kept) < 4
    workflow.snakemake("--unlock")
    workflow.run()
    now = finished_files(workflow.folder)
    assert {name: now[name] for name in kept} == kept, "finished features were computed again"
    assert_frame_equal(workflow.table("tables/alignment.parquet"), finished.table("tables/alignment.parquet"))
    assert workflow.would_run() == {}
    assert not list(workflow.folder.glob("results/**/*.part"))


def test_a_killed_extraction_keeps_its_parts(finished, workflow):
    """Killed inside an extraction twice, the second time after it went on: parts of before the first kill are untouched."""
    workflow.experiment["datasets"][0]["shard_size"] = 1
    target, parts = "results/features/colours/vit.parquet", workflow.folder / "results/features/colours/vit.parts"
    changed = lambda: {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}  # noqa: E731
    seen = [{}]
    for _ in range(2):
        assert kill.run_and_kill(workflow, lambda: len(changed()) > len(seen[-1]) + 2, target), (
            "it ended before the kill"
        )
        seen.append(changed())
        workflow.snakemake("--unlock")
    assert 3 <= len(seen[1]) < len(seen[2]) < 24
    assert seen[1].items() <= seen[2].items(), "finished parts were computed again"
    workflow.run(target)
    assert not parts.exists()
    for found, wanted in zip(*(layers_of(each.folder / target) for each in (workflow, finished)), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.whole
def test_the_world_is_killed_three_times_and_loses_nothing(repository, tmp_path):
    calm, rough = (lay_out(repository, tmp_path / name, kill.experiment(repository)) for name in ("calm", "rough"))
    start = time.monotonic()
    calm.run()
    assert kill.torment(rough, times=3, seed=0, longest=(time.monotonic() - start) / 2) >= 2
    kill.assert_same_tables(calm, rough)


@pytest.fixture
def small_disk(finished, tmp_path):
    """The small experiment, not run yet, with a folder of results on a disk that it does not fit on."""
    workflow = finished.copy(tmp_path / "copy")
    results = workflow.folder / "results"
    needed = sum(path.stat().st_size for path in results.rglob("*") if path.is_file())
    shutil.rmtree(results)
    shutil.rmtree(workflow.folder / ".snakemake")
    results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={needed // 3}", "tmpfs", results], check=False)
    if mounted.returncode:
        pytest.skip("needs root, to mount a small disk")
    yield workflow
    subprocess.run(["umount", "--lazy", results], check=True)


def test_a_full_disk_stops_the_run_and_breaks_nothing(small_disk, finished):
    done = small_disk.snakemake("--cores", "2", check=False)
    assert done.returncode != 0
    assert "No space left on device" in done.stdout + done.stderr
    assert kill.broken(small_disk.folder) == []
    subprocess.run(["mount", "-o", "remount,size=1g", small_disk.folder / "results"], check=True)
    small_disk.run()
    assert_frame_equal(small_disk.table("tables/alignment.parquet"), finished.table("tables/alignment.parquet"))
    assert kill.broken(small_disk.folder) == []


def test_a_truncated_table_is_named_and_made_again(workflow):
    path = workflow.folder / "results/neighbours/colours/vit.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    (workflow.folder / "results/tables/timings.parquet").unlink()
    done = workflow.snakemake("--cores", "2", "--forcerun", "alignment", check=False)
    assert done.returncode != 0
    assert {"features", "figures"} <= set(workflow.table("tables/timings.parquet")["stage"])
    assert "results/neighbours/colours/vit.parquet is not a complete Parquet file" in done.stdout + done.stderr
    path.unlink()
    workflow.run()
    assert workflow.would_run() == {}


def test_a_bad_sample_stops_its_job_by_name_and_keeps_the_rest(workflow):
    (workflow.folder / "data/images/07.png").write_bytes(b"no image")
    done = workflow.snakemake("--cores", "2", "--forcerun", "shard_dataset", check=False)
    assert done.returncode != 0
    assert "data/images/07.png was fetched and has changed; delete" in done.stdout + done.stderr
    done = workflow.snakemake("--cores", "2", "--forcerun", "download_dataset", check=False)
    assert done.returncode != 0
    assert "1 bad samples (images/07.png: image unreadable" in done.stdout + done.stderr
    assert (workflow.folder / "results/tables/alignment.parquet").exists()
    workflow.experiment["datasets"][0]["on_error"] = "skip"
    workflow.run()
    assert workflow.table("tables/alignment.parquet")["n"].unique().to_list() == [23]


def test_a_mistake_in_the_experiment_stops_before_any_job(workflow):
    workflow.experiment["alignment"]["k"] = [500]
    done = workflow.snakemake("--cores", "1", check=False)
    assert done.returncode != 0
    assert "alignment.k: 500 is above k_max = 80; raise k_max." in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_tables_hold_what_they_promise(finished):
    best = finished.table("tables/alignment.parquet")
    assert best.height == 6
    assert {
        "dataset",
        "metric",
        "k",
        "n",
        "score",
        "threshold",
        "p",
        "q",
        "calibrated",
        "low",
        "high",
        "crossfitted",
    } <= set(best.columns)
    assert best["score"].is_between(0, 1).all()
    assert (best["q"] >= best["p"] - 1e-12).all()
    models = finished.table("tables/models.parquet")
    assert models["model"].to_list() == ["vit", "resnet", "words", "other"]
    assert models.filter(pl.col("model") == "words")["parameters"].item() == 60
