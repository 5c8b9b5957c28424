"""The idealised world is what its closed form says, and its observations hide events from a naive look."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prh.core import alignment
from prh.core.preparation import prepare
from prh.io import tables
from prh.world import idealised
from prh.world.idealised import UNTOLD, IdealisedWorld, build
from prh.world.pictures import draw_events, draw_kernels, learnt_kernel, neighbourhood
from prh.world.written import write_multiple_choice

CHANCE = 0.03  # how far from k / (n - 1) an alignment may be and still be called chance


@pytest.fixture(scope="module")
def default() -> IdealisedWorld:
    return build()


@pytest.fixture(scope="module")
def small() -> IdealisedWorld:
    return build(64, seed=1)


def align(world: IdealisedWorld, features: np.ndarray) -> float:
    """Mutual kNN with reality of one layer, prepared as the workflow prepares it."""
    layers = [prepare(np.asarray(layer, np.float32)) for layer in (features, world.reality_features())]
    return alignment.align(*layers, k=10).best


@pytest.mark.parametrize("events", [32, 100, 512])
@pytest.mark.parametrize("scale", [0.8, 1.25, 2.0])
def test_joint_is_a_distribution_whose_pmi_is_the_inner_product_of_positions(events, scale):
    made = build(events, scale=scale, seed=3)
    assert made.joint.sum() == pytest.approx(1)
    np.testing.assert_allclose(made.joint.sum(axis=0), made.occurrence, atol=1e-9)
    np.testing.assert_allclose(made.transition.sum(axis=1), 1)
    np.testing.assert_allclose(made.occurrence @ made.transition, made.occurrence, atol=1e-9)
    marginal = made.joint.sum(axis=1)
    constant = np.log(made.joint / np.outer(marginal, marginal)) - made.positions @ made.positions.T / made.step**2
    np.testing.assert_allclose(constant, constant[0, 0], atol=1e-5)


def test_walks_have_the_pmi_of_the_closed_form(small):
    walks = small.walks(2000, 200, seed=5)
    counts = np.zeros((small.size, small.size))
    np.add.at(counts, (walks[:, :-1], walks[:, 1:]), 1)
    joint = counts / counts.sum()
    often = counts > 400  # standard error of a log count below 0.05
    assert often.sum() > 5 * small.size
    error = np.log((joint / np.outer(joint.sum(axis=1), joint.sum(axis=0)))[often]) - small.pmi[often]
    assert np.abs(error).max() < 0.25
    assert np.abs(error).mean() < 0.04


def test_reality_features_have_the_neighbours_of_the_pmi_also_when_prepared(default):
    features = default.reality_features()
    offset = features.astype(float) @ features.T - default.pmi
    np.testing.assert_allclose(offset, offset[0, 0], atol=1e-4)
    kernel = default.pmi - np.diag(np.full(default.size, np.inf))
    nearest = np.argsort(-kernel, axis=1)[:, :10]
    prepared = prepare(features)
    found = np.argsort(-(prepared @ prepared.T - 2 * np.eye(default.size)), axis=1)[:, :10]
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(nearest, found, strict=True)]) / 10
    assert shared > 0.98


def test_the_rows_of_the_picture_are_a_walk_and_the_best_and_the_least(small):
    walk, best, least = neighbourhood(small, 3, count=4).values()
    assert {row[0][1] for row in (walk, best)} == {small.names[3]}
    order = np.argsort(-small.pmi[3])
    assert [name for _, name in best] == [small.names[i] for i in order[:4]]
    assert [name for _, name in least] == [small.names[i] for i in order[::-1][:4]]


def test_the_kernel_of_shuffled_samples_has_the_events_in_their_order(small, tmp_path):
    features = small.reality_features()
    order = np.random.default_rng(0).permutation(small.size)
    ids = [f"images/{event:04d}.png" for event in order]
    tables.write(tables.layers_table(ids, [features[order]]), tmp_path / "reality.parquet", {})
    centred = features - features.mean(axis=0)
    expected = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    np.testing.assert_allclose(learnt_kernel(tmp_path / "reality.parquet"), expected, atol=1e-5)


def test_raw_pixels_align_with_nothing(default):
    chance = 10 / (default.size - 1)
    assert abs(align(default, default.pixels().reshape(default.size, -1)) - chance) < CHANCE


def test_images_are_different_pngs_of_the_asked_size(small):
    images = small.images()
    assert len(set(images)) == small.size
    with Image.open(io.BytesIO(images[0])) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (32, 32), "RGB")
    assert build(32, image_size=48).pixels().shape == (32, 48, 48, 3)


def test_no_two_events_share_a_place(default):
    apart = np.linalg.norm(default.positions[:, None] - default.positions, axis=-1) + np.eye(default.size)
    assert apart.min() > default.step / 4


def test_captions_are_one_word_per_event_and_grow_with_density(small):
    assert len(set(small.captions())) == small.size
    assert all(caption in small.names for caption in small.captions())
    dense = [caption.split() for caption in small.captions(density=4)]
    assert all(len(set(words)) == 4 and words[0] == name for words, name in zip(dense, small.names, strict=True))
    nearest = np.argsort(-small.pmi[0])[:4]
    assert set(dense[0]) == {small.names[event] for event in nearest}
    assert small.captions(density=0.25).count(UNTOLD) == 48
    assert small.captions(density=0.25, seed=1) != small.captions(density=0.25)


def test_denser_captions_tell_all_that_thinner_ones_do(small):
    told = [{i for i, c in enumerate(small.captions(d)) if c != UNTOLD} for d in (0.125, 0.25, 0.5, 1)]
    assert [len(events) for events in told] == [8, 16, 32, 64]
    assert all(thin <= dense for thin, dense in pairwise(told))


def test_shuffled_captions_are_the_same_captions_elsewhere(small):
    shuffled = small.captions(shuffled=True)
    assert sorted(shuffled) == sorted(small.names)
    assert np.mean([a == b for a, b in zip(shuffled, small.names, strict=True)]) < 0.1


def test_text_tells_walks(small):
    lines = small.text(3, 7, seed=9).splitlines()
    walks = small.walks(3, 7, seed=9)
    assert [line.split() for line in lines] == [[small.names[event] for event in walk] for walk in walks]
    assert set(" ".join(lines).split()) <= set(small.vocabulary)


def test_tasks_are_of_three_groups_and_every_class_occurs_often(default):
    tasks = default.tasks()
    assert len(tasks) >= 6
    assert {group for group, _ in tasks.values()} == {"natural", "specialised", "structured"}
    for _, labels in tasks.values():
        assert labels.shape == (default.size,)
        assert np.bincount(labels).min() >= 8


def test_the_true_ending_of_a_question_is_the_likely_one(default):
    event = {name: i for i, name in enumerate(default.names)}
    questions = default.multiple_choice(200, seed=0)
    right = [
        np.argmax([default.pmi[event[q["ctx"].split()[-1]], event[ending.split()[0]]] for ending in q["endings"]])
        == q["label"]
        for q in questions
    ]
    assert np.mean(right) > 0.85
    assert {q["label"] for q in questions} == {0, 1, 2, 3}
    assert all(len(q["ctx"].split()) == 8 and {len(e.split()) for e in q["endings"]} == {3} for q in questions)


def test_questions_are_written_for_lm_eval(small, tmp_path):
    path = write_multiple_choice(small.multiple_choice(5, seed=0), tmp_path / "tasks", task="mine")
    settings = json.loads(path.read_text())
    lines = Path(settings["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()
    assert (path.name, settings["task"], settings["dataset_path"]) == ("mine.yaml", "mine", "json")
    assert [set(json.loads(line)) for line in lines] == [{"ctx", "endings", "label"}] * 5


def test_the_same_seed_is_the_same_world_and_another_is_not():
    one, same, other = build(48, seed=7), build(48, seed=7), build(48, seed=8)
    np.testing.assert_array_equal(one.positions, same.positions)
    assert one.images() == same.images()
    assert one.names == same.names
    assert one.text(2, 9) == same.text(2, 9)
    assert one.multiple_choice(3, 0) == same.multiple_choice(3, 0)
    assert one.names != other.names
    assert one.images() != other.images()
    assert one.text(2, 9, seed=1) != one.text(2, 9, seed=2)


def test_more_events_than_two_syllables_can_name():
    names = idealised._names(np.random.default_rng(0), 7000)
    assert len(set(names)) == 7000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: build(16), "16 events"),
        (lambda w: build(64, scale=0), "scale is 0"),
        (lambda w: build(64, scale=3), "scale is 3"),
        (lambda w: build(64, image_size=8), "image_size is 8"),
        (lambda w: w.captions(density=-1), "density is -1"),
        (lambda w: w.captions(density=float("nan")), "density is nan"),
        (lambda w: w.captions(density=65), "density is 65"),
        (lambda w: w.walks(0, 5, 0), "count is 0"),
        (lambda w: w.multiple_choice(0, 0), "count is 0"),
        (lambda w: w.multiple_choice(1, 0, endings=1), "1 endings"),
        (lambda w: write_multiple_choice([], "nowhere"), "no question"),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(small)


def test_events_are_drawn_with_their_captions(small):
    pixels = small.pixels()
    figure = draw_events({"a walk": [(pixels[i], small.names[i]) for i in small.walks(1, 5, 0)[0]]}, title="World")
    axes = [ax for part in figure.subfigs for ax in part.axes]
    assert [ax.get_xlabel() for ax in axes] == small.text(1, 5).split()
    assert np.array_equal(axes[0].images[0].get_array(), pixels[small.walks(1, 5, 0)[0, 0]])


def test_kernels_are_drawn_in_one_order(small):
    figure = draw_kernels(small.pmi, {"learnt": np.exp(small.pmi)})
    truth, learnt = (ax.images[0].get_array() for ax in figure.axes[:2])
    assert np.allclose(np.exp(truth), learnt)
    assert np.diag(truth, 1).mean() > small.pmi.mean() + 2  # neighbours in the order go together


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: draw_events({}), "at least one row"),
        (lambda w: draw_events({"a": [(w.pixels()[0], "x")], "b": []}), "all of the same length"),
        (lambda w: draw_kernels(w.pmi, {}), "0 learnt kernels"),
        (lambda w: draw_kernels(w.pmi, {"bad": w.pmi[:3]}), "kernel bad"),
        (lambda w: draw_kernels(w.pmi, {"bad": w.pmi * np.nan}), "kernel bad"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_sentence(small, call, message):
    with pytest.raises(ValueError, match=message):
        call(small)
