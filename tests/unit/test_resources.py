"""The registries and the experiments of the paper: every entry loads, and the plans are those that are promised."""

import re

import pytest
import yaml

from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import ConfigError, load
from prh.experiment.plan import Plan
from prh.experiment.registries import expand
from prh.experiment.schema import LISTS

VTAB = {
    "natural": ["Caltech101", "CIFAR-100", "DTD", "Flowers102", "Pets", "SVHN", "Sun397"],
    "specialised": ["Patch-Camelyon", "EuroSAT", "RESISC45", "Diabetic-Retinopathy"],
    "structured": [
        *("Clevr-count", "Clevr-distance", "DMLab", "KITTI-distance"),
        *("dSprites-x-position", "dSprites-orientation", "SmallNORB-azimuth", "SmallNORB-elevation"),
    ],
}
ANY_MODEL = [{"name": "m", "modality": "vision", "source": "random", "id": "test_vit"}]
ANY_DATA = [{"name": "d", "source": "hub", "id": "a/b"}]


def plan_of(repository, name: str) -> Plan:
    return Plan(load(expand(yaml.safe_load((repository / "experiments" / name).read_text()), repository), repository))


def test_every_entry_of_every_registry_loads(repository):
    """Folders that you fill yourself may be missing; nothing else may be wrong."""
    seen = {kind: [] for kind in LISTS}
    for path in sorted((repository / "resources").rglob("*.yaml")):
        entries = {kind: list(found) for kind, found in yaml.safe_load(path.read_text()).items() if kind in LISTS}
        assert entries, f"{path} has no list of an experiment"
        for kind, found in entries.items():
            seen[kind] += [entry["name"] for entry in found]
        try:
            load({"models": ANY_MODEL, "datasets": ANY_DATA, **entries}, repository)
        except ConfigError as error:
            assert all("does not exist" in line for line in str(error).splitlines()), f"{path}: {error}"
    for kind, names in seen.items():
        assert len(names) == len(set(names)), f"{kind}: a name is used twice"


def test_vtab_has_its_19_tasks_in_three_groups(repository):
    plan = plan_of(repository, "paper.yaml")
    groups = {group: [p.name for p in plan.experiment.probes if p.group == group] for group in VTAB}
    assert groups == VTAB
    for probe in plan.experiment.probes:
        train, test = plan.datasets[probe.train], plan.datasets[probe.test]
        assert train.id == test.id, probe.name
        assert (train.split, test.split) == ("train", "test"), probe.name
        assert probe.classes is not None, probe.name
        for entry in (train, test):
            assert entry.use == "probe"
            assert entry.captions is None
            assert entry.shuffle_seed == 0
            assert entry.samples in (None, 10_000)
            assert len(entry.files) == 1, "the card of the repository would speak of the other split"
    bins = {probe.name: probe.bins for probe in plan.experiment.probes if probe.bins}
    assert bins == {"dSprites-x-position": 16, "dSprites-orientation": 16}


def test_revisions_are_commits_or_left_to_the_lock_file(repository):
    plan = plan_of(repository, "paper.yaml")
    for entry in [*plan.datasets.values(), *plan.texts.values(), *plan.models.values()]:
        revision = getattr(entry, "revision", None)
        assert revision is None or re.fullmatch("[0-9a-f]{40}", revision) or entry.id == "minhuh/prh", entry.name


def figures(plan: Plan, dataset: str) -> set[str]:
    return {path.split("/")[-1] for path in plan.figures() if path.startswith(f"{dataset}/")}


def test_the_paper_draws_its_figures_from_what_they_need(repository):
    plan = plan_of(repository, "paper.yaml")
    vision = [name for name, model in plan.models.items() if model.modality == "vision"]
    assert len(vision) == 78
    assert len(plan.scored()) == 20
    assert plan.models_of("places365") == vision
    assert len(plan.models_of("wit")) == 17 + 20
    assert len(plan.probe_runs()) == 19 * 78
    assert len(plan.runs()) == (17 + 20) + 78 + 38 * 78
    assert len(plan.comparisons()) == (17 + 20) + 78
    assert {plan.probed_layers(name)[0] for name in plan.datasets if plan.datasets[name].use == "probe"} == {-1}
    assert "figure2.svg" in figures(plan, "places365")
    assert not {"figure3.svg", "figure4.svg"} & figures(plan, "places365")
    assert {"figure3.svg", "figure4.svg", "figure4_calibrated.svg"} <= figures(plan, "wit")
    assert {task.name: (task.metric, task.shots) for task in plan.harness.values()} == {
        "hellaswag": ("acc_norm", 10),
        "gsm8k": ("exact_match,strict-match", 5),
    }
    reference = plan.experiment.figures.reference
    assert reference in {plan.models[name].family for name in plan.models_of("wit")}


def test_figure_3_alone_is_part_of_the_paper(repository):
    paper, wit = plan_of(repository, "paper.yaml"), plan_of(repository, "wit.yaml")
    assert len(wit.models_of("wit")) == 17 + 12
    assert set(wit.models_of("wit")) < set(paper.models_of("wit"))
    assert not wit.probe_runs()
    assert not wit.harness
    assert "figure3.svg" in figures(wit, "wit")
    assert not {"figure2.svg", "figure4.svg"} & figures(wit, "wit")
    assert wit.experiment.results == paper.experiment.results
    wit, paper = JobSpecs(wit), JobSpecs(paper)
    assert wit.download_dataset("wit") == paper.download_dataset("wit")
    assert wit.download_text("openwebtext") == paper.download_text("openwebtext")
    assert all(wit.features("wit", name) == paper.features("wit", name) for name in wit.plan.models_of("wit"))


def test_the_laptop_holds_its_models(repository):
    plan = plan_of(repository, "laptop.yaml")
    by_kind = [model.modality for model in plan.models.values()]
    assert (by_kind.count("vision"), by_kind.count("language")) == (4, 3)
    assert all(4 * model.parameters < 8e9 for model in plan.models.values())
    assert not any(model.gated for model in plan.models.values())
    assert {"figure2.svg", "figure3.svg"} <= figures(plan, "wit")
    assert {probe.group for probe in plan.experiment.probes} == set(VTAB)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probes": [{"from": "resources/datasets/vtab.yaml", "only": ["Caltech-101"]}]}, "no entry 'Caltech-101'"),
        ({"probes": [{"from": "resources/datasets/vtab.yaml", "set": {"clases": 3}}]}, "unknown key 'clases'"),
        (
            {"datasets": [{"from": "resources/datasets/paper.yaml", "only": ["wit"]}]},
            "there is no data set 'dtd_train'",
        ),
        (
            {"texts": [{"from": "resources/datasets/paper.yaml", "set": {"id": None}}]},
            "texts, entry 'openwebtext', id: Input should be a valid string",
        ),
        ({"harness": [{"from": "resources/datasets/vtab.yaml"}]}, "has no list 'harness'"),
    ],
)
def test_a_wrong_choice_from_a_registry_is_told(repository, change, message):
    raw = yaml.safe_load((repository / "experiments/laptop.yaml").read_text()) | change
    with pytest.raises(ConfigError, match=message):
        load(expand(raw, repository), repository)
