"""An error that is not ours names what it was about, in every program."""

import json
import os
import runpy
import sys
from unittest import mock

import numpy as np
import pytest

from prh.jobs import about
from prh.jobs.command import failing_in_one_sentence

MODEL = {"name": "vit", "modality": "vision", "library": "timm", "source": "hub", "id": "org/vit", "revision": "a" * 40}
DATA = {"name": "photos", "source": "local", "path": "/photos", "image": "image"}
TEXT = {"name": "wiki", "source": "local", "path": "/wiki"}
TASK = {"name": "quiz", "source": "local", "path": "/quiz"}
STUDY = {"study": "figure3", "rows": {}, "options": {}}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What programs leave in the process that runs them: what they are about, and an environment without the hub."""
    monkeypatch.setattr(about, "_job", [])
    with mock.patch.dict(os.environ):
        yield


def fail(*_arguments, **_settings):
    raise RuntimeError("boom")


@pytest.fixture
def told(repository, monkeypatch, tmp_path):
    """What a program says in the end, where the functions ``broken`` raise an error that is not ours."""
    monkeypatch.chdir(tmp_path)

    def run(program, spec, options, broken, harmless=()):
        for name in broken:
            monkeypatch.setattr(name, fail)
        for name in harmless:
            monkeypatch.setattr(name, lambda *_, **__: {"root": None, "files": {}})
        main = runpy.run_path(str(repository / f"workflow_scripts/{program}.py"), run_name="imported")["main"]
        monkeypatch.setattr(sys, "argv", [program, "--spec", json.dumps(spec), *options.split()])
        with pytest.raises(SystemExit) as ended, failing_in_one_sentence(job=False):
            main()
        return str(ended.value)

    return run


@pytest.mark.parametrize(
    ("program", "spec", "options", "broken", "harmless", "subjects"),
    [
        (
            *("features", {"model": MODEL}, "--manifest m.json --shards s --weights w.json --output f.parquet"),
            *(["prh.io.files.read_json"], [], "model 'vit', from org/vit"),
        ),
        (
            *("probes", {"probes": [{"name": "digits", "train": "photos", "label": "digit"}]}),
            "--model vit --shards shards --features f.parquet --output o.parquet",
            *(["prh.datasets.shards.labels_of"], ["prh.io.tables.require"]),
            "model 'vit', task 'digits', labels 'digit' in shards",
        ),
        (
            *("bits_per_byte", {"text": TEXT, "model": MODEL}, "--text t.jsonl --weights w.json --output o.parquet"),
            *(["prh.io.files.read_json_lines"], ["prh.io.files.fetched"]),
            "model 'vit', from org/vit, text 'wiki', from /wiki, t.jsonl",
        ),
        (
            *("harness", {"task": TASK, "model": MODEL}),
            "--task t.yaml --weights w.json --results r.json --scores s.parquet",
            *(["prh.io.files.fetched"], [], "model 'vit', from org/vit, task 'quiz', from /quiz"),
        ),
        (
            *("neighbours", {"alignment": {}}, "--dataset photos --model vit --features f --output o.parquet"),
            *(["prh.io.tables.require"], [], "data set 'photos', model 'vit'"),
        ),
        (
            *("alignment", {"alignment": {}, "metric": "cka"}),
            "--dataset photos --models vit bert --features a b --scores s --best b",
            *(["prh.io.tables.require_each"], [], "data set 'photos', model 'vit', metric 'cka'"),
        ),
        (
            *("shard_dataset", {"dataset": DATA}, "--source s.json --manifest m.json --shards s"),
            *(["prh.io.files.fetched"], [], "data set 'photos', from /photos"),
        ),
        (
            *("download_dataset", {"dataset": DATA}, "--output s.json"),
            *(["prh.io.files.listing"], [], "data set 'photos', from /photos"),
        ),
        (
            *("download_model", {"model": MODEL}, "--output w.json"),
            *(["prh.downloads.hub.find"], [], "model 'vit', from org/vit"),
        ),
        (
            "download_text",
            {"text": TEXT},
            "--output t.jsonl",
            ["prh.datasets.documents.bounded"],
            ["prh.datasets.documents.read_documents"],
            "text 'wiki', from /wiki",
        ),
        (
            *("download_task", {"task": TASK}, "--output quiz.yaml"),
            *(["pathlib.Path.is_file"], [], "task 'quiz', from /quiz"),
        ),
        (
            *("best_layers", {"models": []}, "--rows d/cka/m.best.parquet --features d/m.parquet --models t --best b"),
            *(["prh.io.tables.require"], [], "d/m.parquet"),
        ),
        (
            *("study", STUDY, "--reads best --tables b.parquet --table t.parquet"),
            *(["prh.io.tables.require"], [], "study 'figure3', b.parquet"),
        ),
        (
            *("draw", STUDY, "--reads best --tables b.parquet --output p.svg"),
            *(["prh.io.tables.require"], [], "study 'figure3', b.parquet"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_every_program_says_what_an_error_was_about(told, program, spec, options, broken, harmless, subjects):
    said = told(program, spec, options, broken, harmless)
    assert (
        said
        == f"error: {subjects}: RuntimeError: boom; this may be a fault of prh (its traceback is above in the log)."
    )


def subjects_of(call):
    with pytest.raises(RuntimeError, match="boom") as caught:
        call()
    return about.subjects(caught.value)


def test_a_sample_whose_image_breaks_the_library_is_named(monkeypatch):
    from prh.datasets.samples import Sample, SampleColumns
    from prh.datasets.sharding import problem

    monkeypatch.setattr("prh.io.images.inspect", fail)
    assert subjects_of(lambda: problem(Sample("7", b"x", "7.png", ()), SampleColumns(image="image"))) == ["sample '7'"]


def test_a_document_whose_scores_break_the_library_is_named(monkeypatch):
    from prh.competence import bits_per_byte
    from tests.unit.test_language_scores import byte_tokenizer

    class Model:
        """Nothing but what is asked of a model before it is run."""

        device = config = None

    monkeypatch.setattr(bits_per_byte, "_window_nats", fail)
    monkeypatch.setattr(bits_per_byte, "_check_window", lambda *_: None)
    monkeypatch.setattr(bits_per_byte, "_refuse_unknown_ids", lambda *_: None)
    found = subjects_of(
        lambda: bits_per_byte.bits_per_byte(Model(), byte_tokenizer(), ["a dog", "two small cats"], batch_size=1)
    )
    assert found == ["a batch from document 1 on, 'two small cats'"]


@pytest.mark.parametrize(("function", "subject"), [("decode", "sample 0 of {}"), ("encode", "samples 0 to 0 of {}")])
def test_an_image_that_breaks_the_library_is_named(monkeypatch, tmp_path, function, subject):
    import torch

    from prh.modalities import image_batches
    from tests.unit.test_features import write_shards

    class Encoder:
        device = "cpu"
        decode = encode = staticmethod(lambda _: torch.zeros(3, 2, 2))

    (shard,) = write_shards(tmp_path, [["a"]])
    monkeypatch.setattr(Encoder, function, fail)
    assert subjects_of(lambda: list(image_batches.encode_images(Encoder(), [shard]))) == [subject.format(shard)]


def test_a_layer_whose_neighbours_break_the_library_is_named(monkeypatch):
    from prh.alignment.representations import neighbours_table

    monkeypatch.setattr("prh.core.neighbours.nearest", fail)
    layers = [None, np.eye(3, dtype=np.float32)]
    assert subjects_of(lambda: neighbours_table("vit", ["a", "b", "c"], layers, 2)) == ["layer 1"]


def test_a_pair_whose_comparison_breaks_the_library_is_named(monkeypatch):
    from prh.alignment import comparisons
    from prh.core.metrics import Representation

    monkeypatch.setattr(comparisons, "compare", fail)
    settings = comparisons.Settings(k=(1,), permutations=0, subsamples=0, splits=0, alpha=0.05, seed=0)
    x, y = (Representation(name, [np.eye(3, dtype=np.float32)]) for name in ("vit", "bert"))
    assert subjects_of(lambda: comparisons.row(x, [y], "cka", settings)) == ["models 'vit' and 'bert'"]
