"""Learners repeat, go on after a stop to the same weights, and are saved as published models are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from prh.world import training, vision_learners
from prh.world.idealised import build
from prh.world.language_learners import train_language
from prh.world.vision_learners import OBJECTIVES, train_vision

VIT = {"img_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 1}
VISION = {"architecture": "vit_tiny_patch16_224", "model_args": VIT, "steps": 4, "batch": 16}
LANGUAGE = {"width": 8, "depth": 1, "heads": 1, "steps": 4, "batch": 4, "context": 8}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def world():
    return build(32)


@pytest.fixture(autouse=True)
def short_life(monkeypatch):
    monkeypatch.setattr(training, "EXPERIENCE", (64, 16))


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def kill_after(monkeypatch, steps: int) -> None:
    """Make training die in the middle of the step after ``steps`` of them."""
    clip, done = torch.nn.utils.clip_grad_norm_, []

    def deadly(*arguments, **options):
        done.append(1)
        if len(done) > steps:
            raise Killed
        return clip(*arguments, **options)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", deadly)


TRAININGS = [(train_language, LANGUAGE), (train_vision, VISION)]


@pytest.mark.parametrize(("train", "arguments"), TRAININGS)
def test_the_same_seed_gives_the_same_weights_and_another_does_not(world, tmp_path, train, arguments):
    one, again, other = (
        train(world, tmp_path / name, seed=seed, **arguments) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same(weights(one), weights(again))
    assert not same(weights(one), weights(other))


@pytest.mark.parametrize(("train", "arguments"), TRAININGS)
def test_a_killed_training_goes_on_to_the_same_weights(world, tmp_path, monkeypatch, train, arguments):
    whole = train(world, tmp_path / "whole", **arguments)
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(Killed):
            train(world, tmp_path / "killed", checkpoint_every=2, **arguments)
    assert not (tmp_path / "killed").exists()
    with monkeypatch.context() as patch:
        kill_after(patch, 2)  # it has only two steps left
        killed = train(world, tmp_path / "killed", checkpoint_every=2, **arguments)
    assert same(weights(whole), weights(killed))
    assert not (tmp_path / "killed.part").exists()
    assert not (killed / "checkpoint.pt").exists()


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(world, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(Killed):
            train_vision(world, tmp_path / "model", checkpoint_every=2, **VISION)
    other = VISION | {"learning_rate": 1e-4}
    assert same(
        weights(train_vision(world, tmp_path / "model", **other)),
        weights(train_vision(world, tmp_path / "fresh", **other)),
    )


def test_training_leaves_torchs_own_random_numbers_alone(world, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train_vision(world, tmp_path / "model", **VISION)
    assert torch.rand(1) == expected


def test_learners_of_one_seed_begin_with_different_weights(world, tmp_path):
    begun = [
        weights(train_vision(world, tmp_path / str(batch), objective="random", **VISION | {"batch": batch}))
        for batch in (8, 16)
    ]
    assert not same(*begun)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_language_models_are_hugging_face_folders(world, tmp_path, architecture):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = train_language(world, tmp_path / "model", architecture=architecture, **LANGUAGE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    captions = world.captions()
    tokens = tokenizer(captions)["input_ids"]
    assert all(len(ids) == 1 for ids in tokens)
    assert len({ids[0] for ids in tokens}) == world.size
    assert tokenizer.batch_decode(tokens) == captions
    assert tokenizer.unk_token_id not in tokenizer(world.text(2, 7))["input_ids"]
    with torch.inference_mode():
        assert model(torch.tensor(tokens)).logits.shape == (world.size, 1, len(world.vocabulary) + 3)


@pytest.mark.parametrize("density", [0.25, 3])
def test_language_models_learn_from_other_densities(world, tmp_path, density):
    assert train_language(world, tmp_path / "model", density=density, **LANGUAGE).is_dir()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_vision_models_are_timm_folders(world, tmp_path, objective):
    import timm

    folder = train_vision(world, tmp_path / "model", objective=objective, **VISION)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert same(weights(folder), model.state_dict())
    data = timm.data.resolve_model_data_config(model)
    assert (data["input_size"], data["crop_pct"], list(data["mean"])) == ((3, 32, 32), 1.0, [0.5, 0.5, 0.5])
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 8)


def test_random_weights_are_not_trained(world, tmp_path):
    one, more = (
        weights(train_vision(world, tmp_path / str(steps), objective="random", **VISION | {"steps": steps}))
        for steps in (1, 4)
    )
    assert same(one, more)


def test_convolutional_networks_learn_too(world, tmp_path):
    arguments = {"patch_size": 2, "dims": [4, 4, 8, 8], "depths": [1, 1, 1, 1]}
    folder = train_vision(world, tmp_path / "model", architecture="convnext_atto", model_args=arguments, steps=2)
    assert json.loads((folder / "config.json").read_text())["model_args"] == arguments


@pytest.mark.slow
def test_learners_of_both_modalities_find_the_pmi(tmp_path, monkeypatch):
    from prh import modalities
    from prh.core import alignment
    from prh.core.preparation import prepare
    from prh.modalities.text_batches import encode_texts

    monkeypatch.undo()
    world = build(128)
    entry = {"name": "x", "source": "local", "path": str(tmp_path), "dtype": "float32"}
    convnext = {"patch_size": 2, "dims": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}
    reader = modalities.load(
        entry | {"modality": "language"}, train_language(world, tmp_path / "language", width=16, depth=1, steps=150)
    )
    seer = modalities.load(
        entry | {"modality": "vision"},
        train_vision(world, tmp_path / "vision", architecture="convnext_atto", model_args=convnext, batch=128),
    )
    images = torch.stack([seer.decode(image) for image in world.images()])
    reality = [prepare(world.reality_features())]
    language = prepare(encode_texts(reader, world.captions()))
    vision = prepare([layer.numpy() for layer in seer.encode(images)])
    shuffled = prepare(encode_texts(reader, world.captions(shuffled=True)))
    assert alignment.align(language, reality).best > 0.8
    assert alignment.align(vision, reality).best > 0.5
    assert alignment.align(vision, language).best > 0.5
    assert alignment.align(vision, shuffled).best < 10 / 127 + 0.03


@pytest.mark.slow
def test_multiple_choice_runs_through_lm_eval(world, tmp_path):
    from prh.competence.causal_models import load_causal
    from prh.competence.harness import harness_scores, run_harness
    from prh.experiment.schema import LanguageModel
    from prh.world.written import write_multiple_choice

    folder = train_language(world, tmp_path / "model", **LANGUAGE | {"context": 15})
    task = write_multiple_choice(world.multiple_choice(8, seed=0), tmp_path / "tasks")
    entry = LanguageModel(name="m", modality="language", source="local", path=str(folder), dtype="float32")
    results = run_harness(
        *load_causal(entry, folder)[:2], [task.stem], include_path=task.parent, out_json=tmp_path / "found.json"
    )
    found = harness_scores(results)
    assert set(found["metric"]) == {"acc", "acc_norm"}
    assert found["n"].to_list() == [8, 8]


@pytest.mark.parametrize(
    ("train", "change", "message"),
    [
        (train_language, {"architecture": "rnn"}, "architecture is 'rnn'"),
        (train_language, {"width": 9, "heads": 2}, "width 9 is not a multiple of 2"),
        (train_language, {"steps": 0}, "steps is 0"),
        (train_language, {"learning_rate": float("nan")}, "learning_rate is nan"),
        (train_language, {"context": 1}, "context is 1"),
        (train_vision, {"objective": "guess"}, "objective is 'guess'"),
        (train_vision, {"architecture": "no_such_net"}, "no_such_net"),
        (train_vision, {"model_args": {}}, "32 x 32"),
        (train_vision, {"batch": 1}, "batch is 1"),
        (train_vision, {"checkpoint_every": 0}, "checkpoint_every is 0"),
        (train_vision, {"learning_rate": 1e30}, "smaller learning_rate"),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(world, tmp_path, train, change, message):
    arguments = LANGUAGE if train is train_language else VISION
    with pytest.raises(ValueError, match=message):
        train(world, tmp_path / "model", **arguments | change)
    assert not (tmp_path / "model").exists()


def test_contrastive_loss_is_least_where_inner_products_are_the_pmi(world):
    together = torch.tensor(world.joint, dtype=torch.float32)
    truth = torch.tensor(world.positions / world.step, dtype=torch.float32)
    best = vision_learners._info_nce(truth, together)
    rng = torch.Generator().manual_seed(0)
    others = [truth * 0.7, truth * 1.4, truth + 0.3 * torch.randn(truth.shape, generator=rng), truth.flip(0)]
    assert all(best < vision_learners._info_nce(other, together) for other in others)
    assert np.isfinite(best)
