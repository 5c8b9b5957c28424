"""Checkpoints of training runs: how they are listed, what they are compared with, and the study of their alignment."""

import itertools

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr

from prh.core.calibration import calibrated
from prh.experiment.checkpoints import step_in
from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import ConfigError, load
from prh.experiment.plan import Plan
from prh.io.names import run_of
from prh.studies.trajectory.drawing import draw
from prh.studies.trajectory.table import table
from prh.world import idealised, language_learners, training, vision_learners

WORLD = {"name": "w", "source": "world"}
REALITY = {"name": "reality", "modality": "world"}


def gpt(name="gpt", **more):
    entry = {"name": name, "modality": "language", "source": "world"}
    return entry | {"training": {"architecture": "gpt2", "steps": 300}} | more


def vit(name="vit", objective="next_event", **more):
    entry = {"name": name, "modality": "vision", "source": "world"}
    return entry | {"training": {"architecture": "vit_tiny_patch16_224", "objective": objective}} | more


def pythia(**more):
    return {"name": "pythia", "modality": "language", "source": "hub", "id": "EleutherAI/pythia-14m", **more}


def plan_of(*models, folder=".", **sections) -> Plan:
    return Plan(load({"datasets": [WORLD], "models": [REALITY, *models], **sections}, folder))


# ---- how they are listed


def test_each_step_of_a_training_is_a_model_and_its_end_is_the_entry_itself():
    plan = plan_of(gpt(checkpoints=[30, 0, 10, 300]))
    assert list(plan.models) == ["reality", "gpt", "gpt@0", "gpt@10", "gpt@30"]
    assert plan.trajectories("w") == {"gpt": {"gpt@0": 0, "gpt@10": 10, "gpt@30": 30, "gpt": 300}}


def test_revisions_of_the_hub_are_models_that_share_all_else():
    plan = plan_of(pythia(checkpoints=["step1000", {"step": 7, "revision": "early"}, "step512"], pooling="last"))
    assert plan.trajectories("w") == {"pythia": {"pythia@7": 7, "pythia@512": 512, "pythia@1000": 1000}}
    assert [plan.models[f"pythia@{step}"].revision for step in (7, 512, 1000)] == ["early", "step512", "step1000"]
    assert {entry.pooling for name, entry in plan.models.items() if name != "reality"} == {"last"}


def test_an_entry_whose_step_is_known_is_the_last_of_its_run():
    plan = plan_of(pythia(step=143000, checkpoints=["step1", "step2"]))
    assert list(plan.trajectories("w")["pythia"]) == ["pythia@1", "pythia@2", "pythia"]


@pytest.mark.parametrize("listed", ["runs/checkpoint-*", ["runs/checkpoint-*"], {"path": "runs/checkpoint-*"}])
def test_a_pattern_finds_folders_and_a_run_needs_no_weights_of_its_own(tmp_path, listed):
    for step in (500, 1000, 20):
        (tmp_path / f"runs/checkpoint-{step}").mkdir(parents=True)
    entry = {"name": "mine", "modality": "language", "source": "local", "checkpoints": listed}
    plan = plan_of(entry, folder=tmp_path)
    assert plan.trajectories("w") == {"mine": {"mine@20": 20, "mine@500": 500, "mine@1000": 1000}}
    assert plan.models["mine@20"].path == "runs/checkpoint-20"
    (tmp_path / "final").mkdir()
    assert plan_of(entry | {"path": "final"}, folder=tmp_path).models_of("w") == ["reality", "mine"]


def test_the_step_is_read_from_the_part_of_a_path_that_varies(tmp_path):
    for step in (1, 2, 3):
        (tmp_path / f"run7/step-{step}").mkdir(parents=True)
        (tmp_path / f"run7/step-{step}/model.h5").touch()
    entry = {"name": "m", "modality": "vision", "source": "local", "id": "test_vit", "checkpoints": "run7/*/model.h5"}
    assert list(plan_of(entry, folder=tmp_path).trajectories("w")["m"].values()) == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step1000", 1000),
        ("stage1-step140000-tokens294B", 140000),
        ("checkpoint-500", 500),
        ("epoch_3_iter_20", 20),
        ("20.safetensors", 20),
        ("global_step_5", 5),
    ],
)
def test_the_step_in_a_name(name, step):
    assert step_in(name) == step


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (gpt(checkpoints=[1, 1]), "step 1 is listed twice; list it once"),
        (gpt(checkpoints=["ten"]), "'ten' is not a number"),
        (gpt(checkpoints=["10"]), "'10' is not a number"),
        (gpt(checkpoints=[301]), "step 301 is above the 300 steps of the training"),
        (gpt(checkpoints=[-1]), "-1 is no step"),
        (gpt(checkpoints=[1.5]), "1.5 is no checkpoint"),
        (gpt(checkpoints=[True]), "True is no checkpoint"),
        (gpt(checkpoints=[None]), "None is no checkpoint"),
        (gpt(checkpoints=[]), "it is empty"),
        (gpt(checkpoints=[300]), "none but the end of the training"),
        (gpt(checkpoints=[{"step": 5, "revision": "a"}]), "must have the key step alone"),
        (gpt(checkpoints=[{"stop": 5}]), "must have the keys step and revision"),
        (gpt(checkpoints=[{"step": "five"}]), "the step 'five' is no whole number"),
        (gpt(step=5), "'step' of a model of the world is that of its training"),
        (vit(objective="random", checkpoints=[0]), "objective 'random' trains nothing"),
        (pythia(checkpoints=["main"]), "'main' has no whole number that could be its step"),
        (pythia(checkpoints=["v1.5"]), "'v1.5' has no whole number"),
        (pythia(checkpoints=["step1", "step01"]), "step 1 is listed twice (step1 and step01)"),
        (pythia(checkpoints=[5]), "5 is no revision; name one, such as step1000"),
        (pythia(checkpoints=[{"step": 5, "path": "x"}]), "must have the key step and revision"),
        (pythia(step=5, checkpoints=["step5"]), "step 5 is that of the entry itself"),
        (pythia(name="p" * 99, checkpoints=["step5"]), "has 101 letters, at most 100 may be"),
        (pythia(source="local", id=None, checkpoints="runs/*"), "nothing matches runs/* (relative to"),
        (pythia(name="pythia@5"), "the name 'pythia@5' has an @"),
        (
            {"name": "r", "modality": "vision", "source": "random", "id": "test_vit", "checkpoints": [1]},
            "'random' has no",
        ),
        ({"name": "r", "modality": "world", "checkpoints": [1]}, "unknown key 'checkpoints'"),
        (
            {"name": "f", "modality": "brain", "source": "features", "files": {"w": "w.npy"}, "checkpoints": [1]},
            "unknown key 'checkpoints'",
        ),
    ],
)
def test_what_is_no_list_of_checkpoints_is_one_sentence(entry, message):
    with pytest.raises(ConfigError) as error:
        plan_of(entry)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


# ---- what they are compared with


def test_a_checkpoint_is_compared_with_entries_of_other_modalities_and_no_entry_with_it():
    plan = plan_of(gpt(checkpoints=[1, 2]), vit(), gpt("other"))
    assert plan.models_of("w") == ["reality", "gpt", "vit", "other"]
    assert plan.row("w", "gpt@1") == ["gpt@1", "vit", "reality"]
    assert plan.row("w", "other") == ["other", "vit", "gpt", "reality"]
    assert plan.comparisons()[-2:] == [("w", "gpt@1"), ("w", "gpt@2")]


def test_only_the_trajectory_is_about_checkpoints():
    probes = {"probes": [{"name": "p", "train": "w", "label": "octant"}], "texts": [WORLD]}
    models = [gpt(checkpoints=[1, 2]), gpt("b"), gpt("c"), vit(), vit("v2"), vit("v3")]
    data = {"datasets": [WORLD | {"labels": ["octant"]}]}
    with_them, without = (
        Plan(load({**data, **probes, "models": [REALITY, first, *models[1:]]})) for first in (models[0], gpt())
    )
    new = set(with_them.figures()) - set(without.figures())
    assert new == {f"w/mutual_knn_k10/trajectory{ending}.svg" for ending in ("", "_calibrated")}
    assert set(without.figures()) < set(with_them.figures())


def test_which_scores_of_checkpoints_are_measured():
    models = [gpt(checkpoints=[1]), vit(checkpoints=[1])]
    data = {"datasets": [WORLD | {"labels": ["octant"]}], "probes": [{"name": "p", "train": "w", "label": "octant"}]}
    usual, all_of_them = (
        Plan(load({**data, "models": models, **more}))
        for more in ({}, {"figures": {"checkpoint_scores": ["texts", "probes", "harness"]}})
    )
    assert (usual.scored("texts"), usual.scored("harness")) == (["gpt", "gpt@1"], ["gpt"])
    assert usual.probe_runs() == [("w", "vit")]
    assert all_of_them.scored("harness") == ["gpt", "gpt@1"]
    assert all_of_them.probe_runs() == [("w", "vit"), ("w", "vit@1")]


def test_a_run_with_less_than_three_checkpoints_or_nothing_to_compare_has_no_trajectory():
    assert plan_of(gpt(checkpoints=[1])).trajectories("w") == {}
    alone = Plan(load({"datasets": [WORLD], "models": [gpt(checkpoints=[1, 2]), gpt("b")]}))
    assert not [path for path in alone.figures() if "trajectory" in path]


def test_listing_checkpoints_changes_no_job_of_the_entry():
    plain, listed, more = (
        JobSpecs(plan_of(gpt(**keys))) for keys in ({}, {"checkpoints": [1]}, {"checkpoints": [1, 2]})
    )
    for stage, names in {"train_model": ("gpt",), "features": ("w", "gpt")}.items():
        assert getattr(plain, stage)(*names) == getattr(listed, stage)(*names)
    assert listed.train_model("gpt@1") == more.train_model("gpt@1") != more.train_model("gpt@2")
    assert "step" not in listed.features("w", "gpt@1").settings["model"]
    hub = JobSpecs(plan_of(pythia(checkpoints=["step1"])))
    assert "step" not in hub.features("w", "pythia@1").settings["model"]
    assert hub.scores().settings["ids"]["pythia@1"] == "pythia@1", "what is published is about the last weights"


# ---- the weights at a step


@pytest.mark.parametrize("learner", ["vision", "language"])
def test_weights_that_are_kept_on_the_way_are_those_of_a_training_that_stops_there(tmp_path, learner):
    torch.set_num_threads(1)
    world = idealised.build(events=32, image_size=16)
    if learner == "vision":
        sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
        settings = {"architecture": "vit_tiny_patch16_224", "model_args": sizes, "batch": 8, "steps": 6}
        train = vision_learners.train_vision
    else:
        settings = {"width": 8, "depth": 1, "heads": 1, "batch": 4, "context": 8, "steps": 6}
        train = language_learners.train_language
    kept = {step: tmp_path / f"kept{step}" for step in (0, 2, 4)}
    whole = train(world, tmp_path / "whole", **settings, keep=kept)
    for step, folder in kept.items():
        alone = train(world, tmp_path / f"alone{step}", **settings, stop=step)
        assert sorted(path.name for path in alone.iterdir()) == sorted(path.name for path in folder.iterdir())
        assert all((folder / path.name).read_bytes() == path.read_bytes() for path in alone.iterdir())
        assert training.is_kept(folder, step, whole)
        assert not training.is_kept(folder, step + 1, whole)
    first, last = (load_file(path / "model.safetensors") for path in (kept[0], whole))
    assert any(not torch.equal(first[name], last[name]) for name in first)


# ---- the study


RUNS = {"gpt": {"gpt@0": 0, "gpt@10": 10, "gpt@100": 100, "gpt": 300}}
CURVE = [0.02, 0.1, 0.3, 0.5]


def best_of(runs=RUNS, others=(("vit", "vision"), ("resnet", "vision"), ("reality", "world"))):
    rows = []
    for of_run in runs.values():
        for i, model in enumerate(of_run):
            for j, (other, modality) in enumerate(others):
                score = CURVE[i] + 0.01 * j
                rows.append(
                    {
                        "dataset": "w",
                        "metric": "mutual_knn",
                        "k": 10,
                        "n": 512,
                        "model_x": model,
                        "modality_x": "language",
                        "family_x": "g",
                        "layer_x": i % 3,
                        "model_y": other,
                        "modality_y": modality,
                        "family_y": other,
                        "layer_y": 0,
                        "score": score,
                        "threshold": 0.03,
                        "calibrated": calibrated(score, 0.03, bounded=True),
                        "low": score - 0.02,
                        "high": score + 0.02,
                        "tied_x": False,
                        "tied_y": False,
                    }
                )
    within = rows[0] | {"model_y": "other", "modality_y": "language"}
    between = rows[0] | {"model_x": "vit@3", "modality_x": "vision", "model_y": "gpt", "modality_y": "language"}
    return pl.DataFrame([*rows, within, between])


def models_of(runs=RUNS):
    names = [name for of_run in runs.values() for name in of_run]
    return pl.DataFrame({"model": names, "modality": "language", "layers": 3})


def scores_of(runs=RUNS, value=2.0):
    names = [name for of_run in runs.values() for name in of_run]
    return pl.DataFrame(
        {
            "model": names,
            "task": "text",
            "metric": "bits_per_byte",
            "value": [value - 0.1 * i for i in range(len(names))],
        }
    ).with_columns(source=pl.lit("measured"))


def test_the_table_has_each_checkpoint_with_each_model_of_another_modality():
    rows = table(best_of(), models_of(), scores_of(), runs=RUNS).table
    aligned = rows.filter(quantity="alignment")
    assert set(aligned["other"]) == {"vit", "resnet", "reality"}
    assert aligned.filter(other="resnet")["y"].to_list() == pytest.approx([value + 0.01 for value in CURVE])
    assert aligned.filter(other="vit")["step"].to_list() == [0, 10, 100, 300]
    assert aligned.filter(other="vit")["layer"].to_list() == [0, 1, 2, 0]
    assert aligned.filter(other="vit")["depth"].to_list() == [0, 0.5, 1, 0]
    scores = rows.filter(quantity="bits_per_byte")
    assert scores["y"].to_list() == pytest.approx([2.0, 1.9, 1.8, 1.7])


def test_calibrated_intervals_are_calibrated_like_the_scores():
    rows = table(best_of(), models_of(), scores_of(), runs=RUNS, value="calibrated").table.filter(other="vit")
    for value, row in zip(CURVE, rows.to_dicts(), strict=True):
        expected = [calibrated(end, 0.03, bounded=True) for end in (value, value - 0.02, value + 0.02)]
        assert [row["y"], row["low"], row["high"]] == pytest.approx(expected)


def test_the_trend_is_a_rank_correlation_with_all_orders_of_the_steps():
    curve = [0.02, 0.3, 0.1, 0.5]
    steps = list(RUNS["gpt"].values())
    best = best_of().with_columns(
        score=pl.col("model_x").replace_strict(dict(zip(RUNS["gpt"], curve, strict=True)), default=0.1)
    )
    quoted = table(best, models_of(), scores_of(), runs=RUNS).statistics.filter(group="vision").row(0, named=True)
    observed = spearmanr(steps, curve).statistic
    orders = [abs(spearmanr(steps, order).statistic) for order in itertools.permutations(curve)]
    assert quoted["value"] == pytest.approx(observed)
    assert quoted["p"] == pytest.approx(np.mean(np.array(orders) >= abs(observed) - 1e-9))
    assert (quoted["panel"], quoted["n"]) == ("gpt", 4)


def test_scores_that_some_checkpoint_lacks_are_left_out_and_none_are_needed():
    some = scores_of().filter(pl.col("model") != "gpt@0")
    assert set(table(best_of(), models_of(), some, runs=RUNS).table["quantity"]) == {"alignment"}
    assert set(table(best_of(), models_of(), some.clear(), runs=RUNS).table["quantity"]) == {"alignment"}


def test_a_run_without_alignment_is_an_error():
    with pytest.raises(ValueError, match="run lost has no alignment"):
        table(best_of(), models_of(), scores_of(), runs={**RUNS, "lost": {"lost@1": 1}})


@pytest.mark.parametrize("value", ["score", "calibrated"])
def test_the_picture_has_a_panel_for_each_quantity(value):
    made = table(best_of(), models_of(), scores_of(), runs=RUNS, value=value)
    figure = draw(made.table, made.statistics)
    word = {"score": "alignment", "calibrated": "calibrated alignment"}[value]
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [
        f"{word} with other modalities",
        f"{word} with reality",
        "depth of the best layer",
        "bits per byte",
    ]
    line = next(line for line in figure.axes[1].lines if line.get_label() == "gpt")
    assert list(line.get_xdata()) == [0, 10, 100, 300]
    assert line.get_ydata() == pytest.approx(made.table.filter(other="reality")["y"].to_list())
    assert figure.axes[0].get_xscale() == "symlog"
    note = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "p permutes the steps" in note
    assert "gpt with vision: ρ = 1.00, p = 0.08" in note


def test_names_of_checkpoints_tell_their_run():
    assert run_of("pythia-14m@1000") == "pythia-14m"
