"""What runs again, and what does not: each promise counted in jobs of a dry run."""

import os
import re
import shutil
from collections import Counter

import pytest
import yaml

from prh.experiment import costs
from prh.experiment.loading import load
from prh.experiment.plan import Plan
from tests.workflow.conftest import lay_out, vision, words, write_data, write_word_vectors

pytestmark = pytest.mark.slow

STUDIES = {"study": 1, "draw": 4}
TABLES = {"best_layers": 1, **STUDIES}


def test_a_second_run_does_nothing(finished):
    assert finished.would_run() == {}


def test_a_touch_runs_nothing(workflow):
    for path in [*workflow.folder.rglob("*.py"), *workflow.folder.glob("data/**/*")]:
        os.utime(path)
    assert workflow.would_run() == {}


def test_reordered_keys_run_nothing(workflow):
    entries = workflow.experiment["models"]
    workflow.experiment["models"] = [dict(reversed(entry.items())) for entry in entries]
    workflow.experiment = dict(reversed(workflow.experiment.items()))
    assert workflow.would_run() == {}


def test_settings_of_the_machine_run_nothing(workflow):
    workflow.experiment["compute"] = {"device": "cpu", "batch_size": 3, "threads": 1, "memory_gb": 0.5}
    assert workflow.would_run() == {}


def test_another_model_runs_its_own_jobs(workflow):
    workflow.experiment["models"].append(vision("convnext", "test_convnext"))
    expected = {"download_model": 1, "features": 1, "neighbours": 1, "alignment": 1, **TABLES}
    assert workflow.would_run() == expected


def test_one_more_checkpoint_runs_its_own_jobs(workflow):
    """Those of a run beside each other in the experiment do not know of each other; nor do the models after them."""
    for step in (10, 200, 3000, 40):
        write_word_vectors(workflow.folder / f"run/step-{step}", seed=step)
    entry = words("run", "words1") | {"step": 5000, "checkpoints": ["run/step-10", "run/step-200", "run/step-3000"]}
    workflow.experiment["models"].insert(2, entry)
    workflow.run()
    models = workflow.table("tables/models.parquet")
    assert dict(models.select("model", "step").drop_nulls().iter_rows()) == {
        **{f"run@{step}": step for step in (10, 200, 3000)},
        "run": 5000,
    }
    best = workflow.table("tables/alignment.parquet")
    assert best.filter(model_x="run@10")["model_y"].sort().to_list() == ["resnet", "vit"]
    assert best.filter(model_x="run@10")["step_x"].unique().to_list() == [10]
    trajectory = workflow.table("tables/colours/mutual_knn_k3/trajectory.parquet")
    assert trajectory["step"].unique().sort().to_list() == [10, 200, 3000, 5000]
    assert workflow.would_run() == {}
    entry["checkpoints"].append("run/step-40")
    chain = {"download_model": 1, "features": 1, "neighbours": 1, "alignment": 1}
    jobs = workflow.would_run()
    assert {rule: jobs.get(rule, 0) for rule in chain} == chain
    assert not set(jobs) - {*chain, "best_layers", "scores", "study", "study_with_statistics", "draw"}


def test_a_model_taken_out_computes_nothing_but_the_tables(workflow):
    workflow.experiment["models"].pop()
    assert workflow.would_run() == TABLES


def test_another_data_set_runs_its_own_chain(workflow):
    write_data(workflow.folder / "more")
    workflow.experiment["datasets"].append({"name": "more", "source": "local", "path": "more"})
    chain = {"download_dataset": 1, "shard_dataset": 1, "features": 4, "neighbours": 4, "alignment": 4}
    assert workflow.would_run() == {**chain, "best_layers": 1, "study": 2, "draw": 8}


def test_another_metric_runs_its_rows_only(workflow):
    workflow.experiment["alignment"]["metrics"] = ["mutual_knn", "jaccard_knn"]
    assert workflow.would_run() == {"alignment": 4, "best_layers": 1, "study": 3, "draw": 9}


def test_another_k_runs_rows_only(workflow):
    workflow.experiment["alignment"]["k"] = [3, 5]
    assert workflow.would_run() == {"alignment": 4, "best_layers": 1, "study": 2, "draw": 9}


def test_a_gallery_of_another_size_runs_the_sweep_only(workflow):
    workflow.experiment["alignment"]["n"] = [12, 24]
    assert workflow.would_run() == {"n_sweep": 4, "collect_sweep": 1, "draw": 1}


def test_a_setting_of_one_model_runs_that_model(workflow):
    workflow.experiment["models"][1]["pooling"] = "mean"
    changed = {"features": 1, "neighbours": 1, "alignment": 3}  # the rows of resnet and of the two models after it
    assert workflow.would_run() == {**changed, **TABLES}


def test_a_family_changes_tables_and_figures(workflow):
    workflow.experiment["models"][0]["family"] = "ViT"
    assert workflow.would_run() == TABLES


def modules(workflow):
    return sorted((workflow.folder / "workflow_scripts").rglob("*.py"))


def edit(workflow, module, old, new):
    """Replace ``old``, which must be there, in a file of the code."""
    path = workflow.folder / "workflow_scripts" / module
    text = path.read_text()
    assert old in text, f"{old!r} is not in {module}; the test is out of date"
    path.write_text(text.replace(old, new))


def append(workflow, module, text="\nEDITED = 1\n"):
    path = workflow.folder / "workflow_scripts" / module
    path.write_text(path.read_text() + text)


def test_comments_formatting_and_docstrings_run_nothing(workflow):
    for path in modules(workflow):
        text = path.read_text()
        if text.startswith('"""'):
            text = '"""Edited: ' + text[3:]
        text = re.sub(r'^( +)"""(?=[A-Z])', r'\1"""Edited: ', text, flags=re.MULTILINE)
        path.write_text(text.replace("\n\n\n", "\n\n\n# edited\n\n\n") + "\n# edited\n")
    assert workflow.would_run() == {}


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("prh/jobs/progress.py", "self._done += count", "self._done += 1 * count"),
        ("prh/jobs/command.py", "started = time.monotonic()", "started = time.monotonic() + 0"),
        ("prh/jobs/devices.py", "import os\n", "import os\n\nEDITED = 1\n"),
        ("prh/jobs/timings.py", "rows = []", "rows = list()"),
        ("prh/models/loading.py", '"device: %s (%s)"', '"the device is %s (%s)"'),
        ("prh/alignment/representations.py", "neighbours of {", "neighbourhoods of {"),
        ("features.py", 'help="folder of the shards"', 'help="where the shards are"'),
        ("prh/features/extraction.py", "lower it.", "ask for another."),
        ("prh/figures/style.py", "import numpy as np\n", "import numpy as np  # numbers\n"),
    ],
)
def test_what_a_job_says_and_is_wrapped_in_runs_nothing(workflow, module, old, new):
    edit(workflow, module, old, new)
    assert workflow.would_run() == {}


def test_new_keys_with_their_defaults_run_nothing(workflow):
    for section, file in {"ModelEntry": "model_entry", "DatasetEntry": "datasets", "Alignment": "alignment"}.items():
        edit(
            workflow,
            f"prh/experiment/schema/{file}.py",
            f"class {section}(Section):\n",
            f"class {section}(Section):\n    novelty: str | None = None\n",
        )
    assert workflow.would_run() == {}
    workflow.experiment["models"][1]["novelty"] = "some"
    assert workflow.would_run() == {"features": 1, "neighbours": 1, "alignment": 3, **TABLES}


def test_a_default_that_changes_runs_what_relies_on_it(workflow):
    edit(workflow, "prh/experiment/schema/models.py", 'pooling: Literal["auto", "cls", "mean", "gap"] = "auto"',
         'pooling: Literal["auto", "cls", "mean", "gap"] = "mean"')  # fmt: skip
    assert workflow.would_run() == {"features": 2, "neighbours": 2, "alignment": 4, **TABLES}
    for entry in workflow.experiment["models"][:2]:
        entry["pooling"] = "auto"
    assert workflow.would_run() == {}


def test_a_default_that_is_written_out_runs_nothing(workflow):
    for entry in workflow.experiment["models"][:2]:
        entry |= {"pooling": "auto", "library": "timm", "seed": 0, "model_args": {}}
    workflow.experiment["alignment"] |= {"metrics": ["mutual_knn"], "clamp": 0.95, "seed": 0}
    workflow.experiment["datasets"][0] |= {"image": "image", "on_error": "fail", "labels": []}
    assert workflow.would_run() == {}


NEW_METRIC = """
from prh.core.metrics.base import metric


@metric(summary="nothing", needs="neighbours", symmetric=True, bounded=True)
def nothing_knn(x, y, k=10):
    return (x.knn(k)[:, None] * 0 + y.knn(k)[None] * 0).sum(axis=(2, 3)) + 0.5
"""


NEW_STUDY = """
from prh.studies.base import Study, register

register(Study("nothing", targets=lambda plan: (), reads=("best",), draw="prh.studies.nothing.drawing:draw"))
"""


NEW_MODALITY = """
from prh.experiment.schema import ModelEntry
from prh.modalities.base import Modality, register

register(Modality("smell", entry=ModelEntry, load=print))
"""


def test_what_the_experiment_does_not_name_runs_nothing(workflow):
    library = workflow.folder / "workflow_scripts/prh"
    (library / "core/metrics/nothing.py").write_text(NEW_METRIC)
    append(workflow, "prh/core/metrics/__init__.py", "\nfrom prh.core.metrics.nothing import nothing_knn\n")
    (library / "studies/nothing").mkdir()
    (library / "studies/nothing/__init__.py").write_text(NEW_STUDY)
    (library / "modalities/declarations/smell.py").write_text(NEW_MODALITY)
    append(workflow, "prh/core/metrics/kernels.py")
    append(workflow, "prh/core/metrics/kernel_alignment.py")
    append(workflow, "prh/core/metrics/subspaces.py")
    append(workflow, "prh/modalities/language.py")
    append(workflow, "prh/world/training.py")
    append(workflow, "prh/competence/bits_per_byte.py")
    assert workflow.would_run() == {}
    workflow.experiment["alignment"]["metrics"] = ["mutual_knn", "nothing_knn"]
    assert workflow.would_run()["alignment"] == 4


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        ("prh/core/metrics/knn.py", {"alignment": 4, **TABLES}),
        ("prh/studies/cross_modal/drawing.py", {"draw": 1}),
        ("prh/studies/layer_matrix/drawing.py", {"draw": 1}),
        ("prh/studies/layer_matrix/table.py", {"study": 1, "draw": 1}),
        ("prh/studies/cross_modal/__init__.py", {}),
        ("draw.py", {"draw": 4}),
        ("prh/modalities/vision.py", {"features": 2, "neighbours": 2, "alignment": 4, **TABLES}),
        ("prh/modalities/word_vectors.py", {"features": 2, "neighbours": 2, "alignment": 2, **TABLES}),
        ("study.py", {"study": 1, "draw": 1}),
        ("neighbours.py", {"neighbours": 4, "alignment": 4, **TABLES}),
    ],
)
def test_code_runs_the_jobs_that_it_can_change(workflow, module, jobs):
    path = workflow.folder / "workflow_scripts" / module
    before = path.read_text()
    append(workflow, module)
    assert workflow.would_run() == jobs
    path.write_text(before)
    assert workflow.would_run() == {}


def test_a_renamed_model_runs_its_own_chain(workflow):
    workflow.experiment["models"][-1]["name"] = "another"
    chain = {"download_model": 1, "features": 1, "neighbours": 1, "alignment": 1}
    assert workflow.would_run() == {**chain, **TABLES}


def test_a_moved_folder_and_a_fresh_clone_run_nothing(workflow, repository, tmp_path):
    moved = tmp_path / "moved"
    workflow.folder.rename(moved)
    workflow.folder = moved
    assert workflow.would_run() == {}
    shutil.rmtree(moved / "workflow_scripts")
    shutil.copytree(repository / "workflow_scripts", moved / "workflow_scripts", copy_function=shutil.copy)
    assert workflow.would_run() == {}


def test_logs_and_footers_say_settings_and_code(finished):
    from prh.io import tables

    for stage in ("features", "neighbours"):
        footer = tables.made_by(finished.folder / f"results/{stage}/colours/vit.parquet")
        log = (finished.folder / f"results/logs/{stage}/colours/vit.log").read_text()
        assert f"settings {footer['spec']}, code {footer['code']}" in log
        assert len(footer["code"]) == len(footer["spec"]) == 16
    best = tables.made_by(finished.folder / "results/tables/alignment.parquet")
    assert {"spec", "code", "settings"} <= set(best)


def test_edited_captions_run_the_data_set(workflow):
    path = workflow.folder / "data/metadata.jsonl"
    path.write_text(path.read_text().replace("cat", "dog"))
    assert workflow.would_run()["shard_dataset"] == 1


def test_a_photograph_of_another_size_runs_the_data_set_and_a_touch_does_not(workflow):
    path = workflow.folder / "data/images/07.png"
    path.touch()
    assert workflow.would_run() == {}
    path.write_bytes(path.read_bytes() + b"0")
    assert workflow.would_run()["shard_dataset"] == 1


def test_results_made_again_with_the_same_content_stop_there(workflow):
    """A download that finds the same files leaves nothing to do behind it."""
    (workflow.folder / "results/datasets/colours/source.json").unlink()
    workflow.run("results/datasets/colours/source.json")
    assert workflow.would_run() == {}


def test_a_lost_table_is_made_again_alone(workflow):
    shutil.rmtree(workflow.folder / "results/figures")
    assert workflow.would_run() == {"draw": 4}


def test_the_plan_tells_how_many_jobs_there_are(repository, tmp_path):
    """prh.experiment.costs counts the jobs of a stage without Snakemake; here Snakemake counts them."""
    settings = yaml.safe_load((repository / "config.yaml").read_text())
    settings["alignment"] |= {"metrics": ["mutual_knn", "cka"], "k": [5, 10], "n": [64, 128]}
    workflow = lay_out(repository, tmp_path, settings)
    stage_of = {
        rule: path.stem
        for path in (repository / "rules").glob("*.smk")
        for rule in re.findall(r"^(?:use rule \w+ as|rule) (\w+)", path.read_text(), re.MULTILINE)
    }
    counted = Counter()
    for rule, count in workflow.would_run().items():
        counted[stage_of[rule]] += count
    plan = Plan(load(settings))
    assert {stage.name: stage.jobs for stage in costs.stages(plan, [], 50, 5e7)} == counted
