"""Tables of another model, data set or setting under a right name are refused by name; deleting them heals everything."""

import copy
import shutil

import polars as pl
import pytest

pytestmark = pytest.mark.slow

FEATURES = "features/colours/vit.parquet"
NEIGHBOURS = "neighbours/colours/vit.parquet"
ROW = "alignment/colours/mutual_knn/words.best.parquet"
ALL_PAIRS = "alignment/colours/mutual_knn/words.parquet"


@pytest.fixture(scope="module")
def variant(finished, tmp_path_factory):
    """The same experiment with another pooling of vit, and another clamp: other tables under the same names."""
    other = finished.copy(tmp_path_factory.mktemp("variant") / "copy")
    other.experiment["models"][0]["pooling"] = "mean"
    other.experiment["alignment"]["clamp"] = 0.9
    other.run("--", f"results/{FEATURES}", f"results/{NEIGHBOURS}", f"results/{ROW}")
    return other


def run_and_be_refused(workflow, culprit):
    done = workflow.snakemake("--cores", "2", check=False)
    said = done.stdout + done.stderr
    assert done.returncode
    assert f"error: results/{culprit} was made for" in said
    assert "delete it and run snakemake again" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("culprit", "source"),
    [
        (FEATURES, "features/colours/resnet.parquet"),
        pytest.param(NEIGHBOURS, "neighbours/colours/other.parquet", marks=pytest.mark.whole),
        (ROW, "alignment/colours/mutual_knn/other.best.parquet"),
        pytest.param(ALL_PAIRS, "alignment/colours/mutual_knn/other.parquet", marks=pytest.mark.whole),
        (FEATURES, None),
        (NEIGHBOURS, None),
        pytest.param(ROW, None, marks=pytest.mark.whole),
    ],
)
def test_a_foreign_table_is_refused_and_deleting_it_heals(workflow, variant, culprit, source):
    """``source``: the table of another model; None: of the same model by other settings."""
    results = workflow.folder / "results"
    before = {name: pl.read_parquet(results / f"tables/{name}.parquet") for name in ("alignment", "models")}
    shutil.copy(variant.folder / "results" / culprit if source is None else results / source, results / culprit)
    run_and_be_refused(workflow, culprit)
    (results / culprit).unlink()
    workflow.run()
    assert workflow.would_run() == {}
    for name, table in before.items():
        assert pl.read_parquet(results / f"tables/{name}.parquet").equals(table)


def test_a_table_of_another_data_set_is_refused(workflow):
    """Of the same model by the same settings."""
    shutil.copytree(workflow.folder / "data", workflow.folder / "more")
    experiment = copy.deepcopy(workflow.experiment)
    workflow.experiment["datasets"].append({"name": "more", "source": "local", "path": "more"})
    workflow.run("--", f"results/{FEATURES.replace('colours', 'more')}")
    workflow.experiment = experiment
    results = workflow.folder / "results"
    shutil.copy(results / FEATURES.replace("colours", "more"), results / FEATURES)
    run_and_be_refused(workflow, FEATURES)
