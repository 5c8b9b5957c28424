"""Which jobs an experiment asks for, and what they need."""

import json
import re
import subprocess
import sys

import pytest

from prh.core.preparation import OFFICIAL
from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import load
from prh.experiment.plan import Plan


def plan_of(models=(), datasets=(), **sections) -> Plan:
    base = [{"name": "photos", "source": "hub", "id": "a/b", "revision": "main"}]
    return Plan(load({"datasets": base + list(datasets), "models": list(models), **sections}))


def vision(name, **more):
    return {"name": name, "modality": "vision", "source": "random", "id": "test_vit", **more}


def language(name, **more):
    return {"name": name, "modality": "language", "source": "hub", "id": "a/b", **more}


TEXT_ONLY = {"name": "texts", "source": "hub", "id": "a/b", "revision": "main", "image": None}
PICTURES = {
    "name": "cifar",
    "source": "hub",
    "id": "a/b",
    "revision": "main",
    "captions": None,
    "labels": ["class"],
    "use": "probe",
}


def test_models_meet_the_data_that_they_can_read():
    plan = plan_of([vision("v"), language("l"), {"name": "r", "modality": "world"}], [TEXT_ONLY, PICTURES])
    assert plan.models_of("photos") == ["v", "l"]
    assert plan.models_of("texts") == ["l"]
    assert plan.models_of("cifar") == ["v"]
    assert ("cifar", "v") in plan.runs()
    assert ("cifar", "v") not in plan.comparisons()


def test_a_row_holds_the_models_before_it():
    plan = plan_of([vision("a"), language("b"), vision("c")])
    assert plan.row("photos", "c") == ["c", "b", "a"]
    assert plan.row("photos", "a") == ["a"]


def test_measures_have_a_k_where_the_metric_has_one():
    plan = plan_of([vision("a")], alignment={"metrics": ["mutual_knn", "cka"], "k": [5, 10]})
    assert plan.measures == {
        "mutual_knn_k5": {"metric": "mutual_knn", "k": 5},
        "mutual_knn_k10": {"metric": "mutual_knn", "k": 10},
        "cka": {"metric": "cka", "k": None},
    }


def test_rows_read_the_tables_that_their_metric_needs():
    plan = plan_of([vision("a")])
    assert plan.row_needs("mutual_knn", "neighbours")
    assert not plan.row_needs("mutual_knn", "features")
    assert plan.row_needs("cka", "features")


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_preparation_by_name_is_its_arguments_and_stands_in_the_specs(name):
    own, named = (plan_of([vision("a")], alignment=alignment) for alignment in ({}, {"preparation": name}))
    assert own.preparation == {"clamp": 0.95, "clamp_scope": "layer", "normalise": True}
    assert named.preparation == OFFICIAL[name]
    assert JobSpecs(named).neighbours().settings["alignment"] == {"preparation": name}
    assert JobSpecs(named).alignment("photos", "mutual_knn").settings["alignment"]["preparation"] == name
    assert JobSpecs(named).n_sweep("photos", "mutual_knn").settings["alignment"]["preparation"] == name


def paper_figures(plan):
    """The numbers of the paper's figures that are drawn of the photos."""
    return [int(path[-1]) for path in plan.targets if re.fullmatch(r"photos/[a-z_0-9]+/figure\d", path)]


def test_figures_of_the_paper_need_three_models_and_their_scores():
    texts, harness = [{"name": "t", "source": "world"}], [{"name": "h", "source": "world"}]
    probes = [{"name": "p", "train": "cifar", "label": "class"}]
    three = [language(f"l{i}") for i in range(3)]
    assert paper_figures(plan_of([*three, vision("v")], texts=texts)) == [3]
    assert paper_figures(plan_of([*three, vision("v")], texts=texts, harness=harness)) == [3, 4]
    assert paper_figures(plan_of([*three[:2], vision("v")], texts=texts)) == []
    vectors = [language(f"w{i}", library="word_vectors") for i in range(3)]
    assert paper_figures(plan_of([*vectors, vision("v")], texts=texts)) == []
    pictures = [vision(f"v{i}") for i in range(3)]
    assert paper_figures(plan_of(pictures, [PICTURES], probes=probes)) == [2]


def test_probes_are_of_the_models_that_run_on_their_data_and_keep_their_layers():
    few = {**PICTURES, "name": "few", "models": ["b"]}
    probes = [
        {"name": "p", "train": "cifar", "label": "class", "layer": 3},
        {"name": "q", "train": "cifar", "test": "few", "label": "class"},
        {"name": "r", "train": "few", "label": "class"},
    ]
    plan = plan_of([vision("a"), vision("b"), language("l")], [PICTURES, few], probes=probes)
    assert plan.probe_runs() == [("cifar", "b"), ("few", "b")]
    assert plan.probed_layers("cifar") == [-1, 3]
    assert plan.probed_layers("few") == [-1]
    assert plan.probed_layers("photos") == []


def test_only_what_can_move_is_looked_for_in_the_results():
    commit = "0123456789" * 4
    datasets = [PICTURES | {"name": "a", "revision": "v1"}, PICTURES | {"name": "b", "revision": commit}]
    harness = [{"name": "gsm8k", "source": "lm_eval"}, {"name": "own", "source": "world"}]
    fetched = plan_of([vision("v")], datasets, harness=harness, results="out").fetched()
    assert {key: str(path) for key, path in fetched.items()} == {
        ("datasets", "photos"): "out/datasets/photos/source.json",
        ("datasets", "a"): "out/datasets/a/source.json",
        ("harness", "gsm8k"): "out/tasks/gsm8k/gsm8k.yaml",
    }


COMPUTE_WITH_TENSORS = {
    "n_sweep.py",
    "bits_per_byte.py",
    "features.py",
    "harness.py",
    "neighbours.py",
    "probes.py",
    "train_model.py",
}
FIRST_WITH_TORCH = """
import importlib, pkgutil, runpy, sys
import prh.figures, prh.studies
for script in sys.argv[1:]:
    runpy.run_path(script, run_name="imported")
    if "torch" in sys.modules:
        sys.exit(f"{script} loads torch")
for package in (prh.figures, prh.studies):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
        if "torch" in sys.modules:
            sys.exit(f"{module.name} loads torch")
"""


def test_jobs_without_tensors_and_figures_do_not_load_torch(repository):
    programs = sorted((repository / "workflow_scripts").glob("*.py"))
    scripts = [str(path) for path in programs if path.name not in COMPUTE_WITH_TENSORS]
    assert len(scripts) == len(programs) - len(COMPUTE_WITH_TENSORS)
    done = subprocess.run(
        [sys.executable, "-c", FIRST_WITH_TORCH, *scripts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["shard_dataset.py", "features.py", "bits_per_byte.py", "harness.py"])
def test_jobs_that_could_ask_the_hub_are_offline(repository, program):
    """huggingface_hub and datasets read these variables when they are imported."""
    text = (repository / "workflow_scripts" / program).read_text()
    assert text.index('os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")') < text.index("from prh.")


def test_language_models_are_scored_unless_it_is_known_that_they_are_not_causal(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertForMaskedLM"]}))
    local = {"source": "local", "path": str(tmp_path)}
    entries = [
        *(language("unknown"), language("told", causal=True), language("encoder", causal=False)),
        *(language("seen", **local), language("insists", **local, causal=True)),
    ]
    assert plan_of(entries).scored() == ["unknown", "told", "insists"]


TEXT = {"name": "t", "source": "hub", "id": "a/t"}


def test_a_self_test_counts_where_it_can_change_a_result():
    """It may cut batches to equal lengths, so features and scores depend on it, and weights do not."""
    with_it, without = (JobSpecs(plan_of([language("m", selftest=value)], texts=[TEXT])) for value in (True, False))
    assert with_it.download_model("m") == without.download_model("m")
    assert with_it.features("photos", "m") != without.features("photos", "m")
    assert with_it.bits_per_byte("t", "m") != without.bits_per_byte("t", "m")
    told = JobSpecs(plan_of([language("m", causal=True)], texts=[TEXT]))
    assert told.bits_per_byte("t", "m") != with_it.bits_per_byte("t", "m"), "an error instead of an empty table"
    assert told.features("photos", "m") == with_it.features("photos", "m")
