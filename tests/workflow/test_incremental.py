"""What runs again, and what does not: each promise counted in jobs of a dry run."""

import os
import re
import shutil
from collections import Counter

import pytest
import yaml

from prh import costs
from prh.config import load
from prh.plan import Plan
from tests.workflow.conftest import lay_out, vision, write_data

pytestmark = pytest.mark.slow

ROWS_AND_FIGURES = {"best_layers": 1, "alignment_matrix": 2, "cross_modal": 1, "layer_scores": 1, "layer_matrix": 1}


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
    expected = {"download_model": 1, "features": 1, "neighbours": 1, "alignment": 1, **ROWS_AND_FIGURES}
    assert workflow.would_run() == expected


def test_a_model_taken_out_computes_nothing_but_the_tables(workflow):
    workflow.experiment["models"].pop()
    assert workflow.would_run() == ROWS_AND_FIGURES


def test_another_data_set_runs_its_own_chain(workflow):
    write_data(workflow.folder / "more")
    workflow.experiment["datasets"].append({"name": "more", "source": "local", "path": "more"})
    chain = {"download_dataset": 1, "shard_dataset": 1, "features": 4, "neighbours": 4, "alignment": 4}
    figures = {rule: 1 + count if rule == "best_layers" else 2 * count for rule, count in ROWS_AND_FIGURES.items()}
    assert workflow.would_run() == {**chain, **figures, "best_layers": 1}


def test_another_metric_runs_its_rows_only(workflow):
    workflow.experiment["alignment"]["metrics"] = ["mutual_knn", "jaccard_knn"]
    figures = {**{rule: 2 * n for rule, n in ROWS_AND_FIGURES.items()}, "best_layers": 1}
    assert workflow.would_run() == {"alignment": 4, **figures, "metric_correlation_table": 1, "metric_correlation": 1}


def test_another_k_runs_rows_only(workflow):
    workflow.experiment["alignment"]["k"] = [3, 5]
    figures = {**{rule: 2 * n for rule, n in ROWS_AND_FIGURES.items()}, "best_layers": 1}
    assert workflow.would_run() == {"alignment": 4, **figures, "k_sweep_figure": 1}


def test_a_gallery_of_another_size_runs_the_sweep_only(workflow):
    workflow.experiment["alignment"]["n"] = [12, 24]
    assert workflow.would_run() == {"n_sweep": 4, "collect_sweep": 1, "n_sweep_figure": 1}


def test_a_setting_of_one_model_runs_that_model(workflow):
    workflow.experiment["models"][1]["pooling"] = "mean"
    changed = {"features": 1, "neighbours": 1, "alignment": 3}  # the rows of resnet and of the two models after it
    assert workflow.would_run() == {**changed, **ROWS_AND_FIGURES}


def test_a_family_changes_tables_and_figures(workflow):
    workflow.experiment["models"][0]["family"] = "ViT"
    assert workflow.would_run() == ROWS_AND_FIGURES


def test_edited_code_runs_its_stage_and_what_follows(workflow):
    path = workflow.folder / "workflow_scripts/prh/figures/cross_modal.py"
    before = path.read_text()
    path.write_text(before + "\n# edited\n")
    assert workflow.would_run() == {"cross_modal": 1}
    path.write_text(before)
    assert workflow.would_run() == {}
    path = workflow.folder / "workflow_scripts/prh/loading.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert workflow.would_run() == {"features": 4, "neighbours": 4, "alignment": 4, **ROWS_AND_FIGURES}


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
    figures = {rule: n for rule, n in ROWS_AND_FIGURES.items() if rule not in ("best_layers", "layer_scores")}
    assert workflow.would_run() == figures


def test_the_plan_tells_how_many_jobs_there_are(repository, tmp_path):
    """prh.costs counts the jobs of a stage without Snakemake; here Snakemake counts them."""
    settings = yaml.safe_load((repository / "config.yaml").read_text())
    settings["alignment"] |= {"metrics": ["mutual_knn", "cka"], "k": [5, 10], "n": [64, 128]}
    workflow = lay_out(repository, tmp_path, settings)
    stage_of = {
        rule: path.stem
        for path in (repository / "rules").glob("*.smk")
        for rule in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)
    }
    counted = Counter()
    for rule, count in workflow.would_run().items():
        counted[stage_of[rule]] += count
    plan = Plan(load(settings))
    assert {stage.name: stage.jobs for stage in costs.stages(plan, [], 50, 5e7)} == counted
