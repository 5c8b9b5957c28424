"""Metrics and studies from outside of the workflow, one of each from a folder of the user's, run for real."""

import os
import re
import subprocess
import sys

import polars as pl
import pytest
import yaml

from tests.workflow.conftest import lay_out, vision, words, write_data, write_word_vectors

pytestmark = pytest.mark.slow

METRIC = '''
"""A metric of one's own."""
import numpy as np

import prh
from beside import SHARE


@prh.metric(summary="share of samples with one nearest neighbour", needs="neighbours", symmetric=True, bounded=True,
            per_query=True, chance=lambda k, n: 1 / (n - 1))
def same_nearest(x, y):
    return SHARE * np.array([[np.mean(a[:, 0] == b[:, 0]) for b in y.knn(1)] for a in x.knn(1)])
'''
STUDY = '''
"""A study of one's own: in one file, which draws with whatever it likes."""
from matplotlib.figure import Figure

import prh


def targets(plan):
    for dataset, measure, models in plan.panels():
        yield prh.Target(f"{dataset}/{measure}/spread", rows=plan.rows_of(dataset, measure), table={"least": 0.0})


def table(best, *, least):
    return prh.StudyTables(best.filter(best["score"] >= least).select("model_x", "model_y", "score"))


def draw(table):
    figure = Figure()
    figure.subplots().hist(table["score"])
    return figure


prh.register(prh.Study("spread", targets=targets, reads=("best",), table=table, draw=draw))
'''


@pytest.fixture(scope="module")
def own(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_data(folder / "data")
    write_word_vectors(folder / "words", 0)
    experiment = {
        "datasets": [{"name": "colours", "source": "local", "path": "data"}],
        "models": [vision("vit", "test_vit"), vision("resnet", "test_resnet"), words("words", "words")],
        "alignment": {
            "metrics": ["same_nearest"],
            "k": [3],
            "k_max": 24,
            "permutations": 19,
            "subsamples": 0,
            "splits": 0,
        },
        "plugins": ["own/my metric.py", "my_studies.spread"],
    }
    workflow = lay_out(repository, folder, experiment)
    for name, text in {"own/my metric.py": METRIC, "own/beside.py": "SHARE = 1.0\n", "my_studies/__init__.py": "",
                       "my_studies/spread.py": STUDY}.items():  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    workflow.run()
    return workflow


def test_a_metric_and_a_study_from_outside_run_through_the_workflow(own):
    best = own.table("tables/alignment.parquet")
    assert set(best["metric"]) == {"same_nearest"}
    assert best["score"].is_between(0, 1).all()
    assert best["chance"].unique().to_list() == [1 / 23]
    spread = pl.read_parquet(own.folder / "results/tables/colours/same_nearest/spread.parquet")
    assert spread.height == best.height
    assert (own.folder / "results/figures/colours/same_nearest/spread.png").stat().st_size > 1000
    assert own.would_run() == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "jobs"),
    [
        ("own/my metric.py", "A metric of one's own.", "My metric.", {}),
        ("own/my metric.py", "a[:, 0] == b[:, 0]", "b[:, 0] == a[:, 0]", {"alignment": 3, "best_layers": 1}),
        ("own/beside.py", "1.0", "0.5", {"alignment": 3, "best_layers": 1}),
        ("my_studies/spread.py", "figure.subplots().hist(", "figure.subplots().plot(", {"study": 1, "draw": 1}),
    ],
)
def test_a_plugin_is_watched_as_the_code_of_the_workflow_is(own, file, old, new, jobs):
    path = own.folder / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        would = own.would_run()
        studies = {"study": 2, "draw": 5} if "alignment" in jobs else {}
        assert would == jobs | studies
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("plugin", "text", "message"),
    [
        ("nowhere.py", None, r"plugins: nowhere\.py does not exist"),
        ("not_a_module", None, r"plugins: not_a_module cannot be loaded \(ModuleNotFoundError"),
        ("wrong.py", "import prh\nprh.metric(\n", r"plugins: wrong\.py cannot be loaded \(SyntaxError"),
        ("fails.py", "x = 1\ny = x / 0\n", r"plugins: fails\.py cannot be loaded, line 2 \(ZeroDivisionError: division"),
        ("leaves.py", "import sys\nsys.exit('bye')\n", r"plugins: leaves\.py cannot be loaded, line 2 \(SystemExit: bye\)"),
        ("taken.py", "import prh\n@prh.metric(summary='', needs='features', symmetric=True, bounded=True)\n"
         "def cka(x, y): pass\n", "there is a metric 'cka' already"),
        ("reads.py", "import prh\nprh.register(prh.Study('s', lambda plan: (), reads=('tea',), draw=print))\n",
         "study 's' reads 'tea'; it can read best, models"),
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_loaded_is_named_before_any_job(own, plugin, text, message):
    if text is not None:
        (own.folder / plugin).write_text(text)
    before = own.experiment["plugins"]
    own.experiment["plugins"] = [*before, plugin]
    try:
        done = own.snakemake("-n", check=False)
    finally:
        own.experiment["plugins"] = before
    said = done.stdout + done.stderr
    assert done.returncode
    assert re.search(message, said), said
    assert "Traceback" not in said


def test_prh_plan_imports_no_plugin_unless_it_is_told_to(own):
    """It is how one looks at a stranger's experiment."""
    (own.folder / "plugged.yaml").write_text(yaml.safe_dump(own.experiment))
    command = [sys.executable, "-m", "prh", "plan", "--offline", "--tflops", "1", "--configfile", "plugged.yaml"]
    environment = {**os.environ, **own.environment}
    refused = subprocess.run(command, cwd=own.folder, env=environment, capture_output=True, text=True)
    assert refused.returncode
    assert "names plugins, which are code (own/my metric.py, my_studies.spread): read them" in refused.stderr
    assert subprocess.run([*command, "--plugins"], cwd=own.folder, env=environment).returncode == 0
