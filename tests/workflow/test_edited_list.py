"""Rows of the alignment matrix outlive edits of the list of models: what runs, and that the tables are those of a new run."""

import shutil

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from prh.io import tables
from tests.workflow.conftest import vision, write_data

pytestmark = pytest.mark.slow

TABLES = {"best_layers": 1, "collect_sweep": 1, "study": 1, "draw": 5}
ROWS = "results/alignment/colours/mutual_knn"


@pytest.fixture(scope="module")
def swept(finished, tmp_path_factory):
    """The small experiment with a sweep, run to its end."""
    workflow = finished.copy(tmp_path_factory.mktemp("swept") / "copy")
    workflow.experiment["alignment"]["n"] = [12, 24]
    workflow.run()
    return workflow


@pytest.fixture
def workflow(swept, tmp_path):
    return swept.copy(tmp_path / "copy")


def rows_of(workflow):
    """When each row was written."""
    return {path: path.stat().st_mtime_ns for path in (workflow.folder / ROWS).iterdir()}


def assert_as_new(workflow, tmp_path):
    """The tables of a run are those that the same experiment makes without any row of an earlier one."""
    new = workflow.copy(tmp_path / "new")
    for name in ("alignment", "tables", "figures"):
        shutil.rmtree(new.folder / "results" / name)
    new.run()
    names = {
        path.relative_to(new.folder / "results").as_posix()
        for path in (new.folder / "results/tables").rglob("*.parquet")
        if path.name != "timings.parquet"
    }
    assert names >= {"tables/alignment.parquet", "tables/colours/mutual_knn_k3/n_sweep.parquet"}
    for name in names:
        assert_frame_equal(workflow.table(name), new.table(name), check_exact=True)


def test_a_model_removed_from_the_middle_runs_tables_and_figures(workflow, tmp_path):
    del workflow.experiment["models"][1]
    assert workflow.would_run() == TABLES
    before = rows_of(workflow)
    workflow.run()
    assert rows_of(workflow) == before
    assert workflow.would_run() == {}
    assert_as_new(workflow, tmp_path)


@pytest.mark.whole
def test_two_models_removed_run_tables_and_figures(workflow):
    del workflow.experiment["models"][1:3]
    assert workflow.would_run() == TABLES


@pytest.mark.whole
def test_a_model_that_a_data_set_leaves_out_runs_tables_and_figures(workflow):
    workflow.experiment["datasets"][0]["models"] = ["resnet", "words", "other"]
    before = rows_of(workflow)
    workflow.run()
    assert rows_of(workflow) == before
    assert set(workflow.table("tables/alignment.parquet")["model_y"]) == {"resnet", "words"}
    assert workflow.would_run() == {}


@pytest.mark.whole
def test_a_model_that_comes_back(workflow, tmp_path):
    resnet = workflow.experiment["models"].pop(1)
    workflow.run()
    workflow.experiment["models"].insert(1, resnet)
    assert workflow.would_run() == TABLES
    workflow.experiment["models"][1] = resnet | {"pooling": "mean"}
    changed = {"features": 1, "neighbours": 1, "alignment": 3, "n_sweep": 3}
    assert workflow.would_run() == {**changed, **TABLES}
    del workflow.experiment["models"][1]
    workflow.experiment["models"].append(resnet)  # its pairs with the two before it are still in their rows
    assert workflow.would_run() == TABLES
    workflow.run()
    assert_as_new(workflow, tmp_path)


NEW = vision("convnext", "test_convnext")
CHAIN = {"download_model": 1, "features": 1, "neighbours": 1, "alignment": 1, "n_sweep": 1}


def renamed(models):
    models[1]["name"] = "another"


def moved(models):
    models.insert(0, models.pop())
    models[1], models[2] = models[2], models[1]


@pytest.mark.parametrize(
    ("edit", "jobs"),
    [
        pytest.param(lambda models: models.insert(0, NEW), CHAIN, marks=pytest.mark.whole),
        (lambda models: models.insert(2, NEW), CHAIN),
        pytest.param(renamed, CHAIN, marks=pytest.mark.whole),
        (moved, {}),
    ],
    ids=["inserted first", "inserted in the middle", "renamed in the middle", "moved"],
)
def test_an_edit_of_the_list_runs_the_chain_of_new_models(workflow, tmp_path, edit, jobs):
    edit(workflow.experiment["models"])
    assert workflow.would_run() == {**jobs, **TABLES}
    before = rows_of(workflow)
    workflow.run()
    after = rows_of(workflow)
    assert {path: after[path] for path in before} == before
    assert workflow.would_run() == {}
    (workflow.folder / "results/.rows.json").unlink()  # the rows themselves say the same
    assert workflow.would_run() == {}
    assert_as_new(workflow, tmp_path)


@pytest.mark.whole
def test_both_directions_of_a_metric_survive_an_edit_of_the_list(workflow, tmp_path):
    workflow.experiment["alignment"]["metrics"] = ["cycle_knn", "cka"]
    workflow.run()
    workflow.experiment["models"].insert(1, NEW)
    moved(workflow.experiment["models"])
    assert workflow.would_run()["alignment"] == 2
    workflow.run()
    assert workflow.would_run() == {}
    new = workflow.copy(tmp_path / "new")
    shutil.rmtree(new.folder / "results/alignment")
    new.run()
    assert_frame_equal(
        workflow.table("tables/alignment.parquet"), new.table("tables/alignment.parquet"), check_exact=True
    )


@pytest.mark.whole
def test_a_model_inserted_twice_over(workflow, tmp_path):
    """A row that holds later models stays when another model is inserted before them, and when one of them goes."""
    workflow.experiment["models"].insert(1, NEW)
    workflow.run()
    workflow.experiment["models"].insert(2, NEW | {"name": "second"})
    del workflow.experiment["models"][-1]
    assert workflow.would_run() == {**CHAIN, **TABLES}
    workflow.run()
    assert workflow.would_run() == {}
    assert_as_new(workflow, tmp_path)


@pytest.mark.whole
def test_a_killed_run_goes_on_with_the_rows_that_are_left(workflow, tmp_path):
    workflow.experiment["models"].insert(0, NEW)
    workflow.experiment["models"].insert(2, NEW | {"name": "second"})
    workflow.run("results/alignment/colours/mutual_knn/convnext.best.parquet")
    assert workflow.would_run() == {**CHAIN, **TABLES, "n_sweep": 2}
    workflow.run()
    assert workflow.would_run() == {}
    assert_as_new(workflow, tmp_path)


@pytest.mark.whole
def test_jobs_of_a_cluster_make_the_rows_that_their_run_has_planned(workflow, tmp_path):
    """Each of them is a snakemake of its own, and sees a row gone that the run is about to make again."""
    workflow.experiment["models"].insert(0, NEW)
    (workflow.folder / ROWS / "other.parquet").unlink()
    (workflow.folder / ROWS / "words.sweep.parquet").unlink()
    jobs = {**CHAIN, "alignment": 2, "n_sweep": 2}
    assert workflow.would_run() == {**jobs, **TABLES}
    submit = tmp_path / "submit.sh"
    submit.write_text('#!/bin/sh\nsh "$1" > "$1.log" 2>&1\necho 1\n')
    submit.chmod(0o755)
    options = ("--latency-wait", "2", "--cluster-generic-submit-cmd", str(submit))
    workflow.snakemake("--executor", "cluster-generic", "--jobs", "1", *options, "--until", "alignment", "n_sweep")
    assert workflow.would_run() == TABLES
    workflow.run()
    assert workflow.would_run() == {}
    assert_as_new(workflow, tmp_path)


@pytest.mark.whole
def test_rows_that_are_made_again_are_made_without_a_removed_model(workflow):
    del workflow.experiment["models"][0]
    workflow.experiment["alignment"]["k"] = [4]
    assert workflow.would_run()["alignment"] == 3
    workflow.run()
    assert tables.made_by(workflow.folder / ROWS / "other.best.parquet")["models"] == ["other", "words", "resnet"]
    assert workflow.would_run() == {}


@pytest.mark.whole
def test_a_removed_model_whose_tables_are_gone_is_gone_from_the_rows(workflow):
    del workflow.experiment["models"][1]
    (workflow.folder / "results/neighbours/colours/resnet.parquet").unlink()
    assert workflow.would_run() == {"alignment": 2, **TABLES}
    (workflow.folder / "results/features/colours/resnet.parquet").write_bytes(b"damaged")
    assert workflow.would_run() == {"alignment": 2, "n_sweep": 2, **TABLES}


def test_a_damaged_row_is_made_again(workflow):
    del workflow.experiment["models"][1]
    (workflow.folder / ROWS / "other.best.parquet").write_bytes(b"damaged")
    assert workflow.would_run() == {"alignment": 1, **TABLES}


@pytest.mark.whole
def test_data_that_a_removed_model_has_not_seen_leave_it_out(workflow, tmp_path):
    resnet = workflow.experiment["models"].pop(1)
    workflow.run()
    shutil.rmtree(workflow.folder / "data")
    write_data(workflow.folder / "data")
    path = workflow.folder / "data/metadata.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    workflow.experiment["alignment"]["n"] = [12, 23]
    workflow.run()
    assert workflow.would_run() == {}
    pairs = workflow.table("alignment/colours/mutual_knn/other.best.parquet")
    assert pairs["model_y"].to_list() == ["words", "vit"]
    workflow.experiment["models"].insert(1, resnet)
    would_run = workflow.would_run()
    assert (would_run["features"], would_run["alignment"]) == (1, 3)  # the rows still have its features as inputs
    assert would_run["n_sweep"] == 1  # the others were made again without it, as n has changed
    workflow.run()
    assert_as_new(workflow, tmp_path)


def test_a_row_that_lacks_a_model_is_refused(workflow):
    path = workflow.folder / ROWS / "other.best.parquet"
    row = pl.read_parquet(path).filter(pl.col("model_y") != "words")
    tables.write(row.to_arrow(), path, tables.made_by(path))
    done = workflow.snakemake("--cores", "2", check=False)
    assert done.returncode
    assert "the row of model 'other' has no comparison with 'words'; delete it" in workflow.log_of("best_layers")
