"""The spec of a job: entries without defaults, and back."""

import json
from argparse import ArgumentTypeError

import pytest

from prh.experiment import schema, specs
from prh.experiment.schema import Dataset, LanguageModel, Model, UrlDataset, VisionModel
from prh.experiment.specs import Spec, differences, filled

VIT = {"name": "v", "modality": "vision", "source": "random", "id": "test_vit"}


def test_only_what_is_not_the_default_is_told_and_comes_back():
    entry = VisionModel(**VIT, pooling="mean", dtype="auto", checkpoint={"prefix": "a."})
    told = differences(entry)
    assert told == {**VIT, "pooling": "mean", "checkpoint": {"prefix": "a."}}
    back = filled(Model, json.loads(json.dumps(told)))
    assert type(back) is VisionModel
    assert back.model_dump() == entry.model_dump()


def test_an_entry_need_not_be_whole():
    entry = filled(Model, {"name": "m", "modality": "language", "device_map": "auto"})
    assert type(entry) is LanguageModel
    assert entry.device_map == "auto"
    assert entry.pooling == "mean"


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Model, {"modality": "smell"}, "modality must be one of vision, language"),
        (Model, {**VIT, "poling": "mean"}, "VisionModel has no key poling"),
        (Model, {**VIT, "pooling": "max"}, "VisionModel, pooling: Input should be"),
        (Dataset, {"source": "local", "shard_size": 0}, "LocalDataset, shard_size: Input should be greater"),
    ],
)
def test_wrong_specs_are_refused_in_a_sentence(kind, values, said):
    with pytest.raises(ValueError, match=said):
        filled(kind, values)


@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON"), ("[1]", "is no JSON object")])
def test_text_that_is_no_spec_is_refused(text, said):
    with pytest.raises(ArgumentTypeError, match=said):
        Spec.parse(text)


def test_a_spec_is_read_as_it_was_written():
    spec = Spec({"b": "ü\n", "a": {"y": 1, "x": [None, 0.5]}}, "0123")
    assert Spec.parse(str(spec)) == spec
    assert Spec(dict(reversed(spec.settings.items()))).digest == spec.digest != Spec({"a": 1}).digest
    with pytest.raises(ValueError, match="--spec has no 'model'; it has b, a"):
        spec.entry("model", Model)


def test_a_default_that_has_changed_is_told_by_all_who_rely_on_it(monkeypatch):
    was = {**specs._record()["VisionModel"], "pooling": "cls"}
    monkeypatch.setattr(specs, "_record", lambda: {"VisionModel": was})
    assert differences(VisionModel(**VIT))["pooling"] == "auto"
    assert "pooling" not in differences(VisionModel(**VIT, pooling="cls"))
    assert filled(Model, VIT).pooling == "cls"


def test_every_default_is_recorded():
    """Run `make schema` when this fails; it adds keys, and changes none."""
    assert specs.recorded(specs.sections()) == specs._record()


def test_every_section_has_its_defaults_recorded_and_is_handed_on():
    """A section that the schema does not hand on would be in no record, and new keys in it would run jobs again."""
    todo, found = [schema.Section], set()
    while todo:
        section = todo.pop()
        todo += section.__subclasses__()
        if section.__module__.startswith("prh.") and not section.__name__.startswith("_"):
            found.add(section)
    assert set(specs.sections()) == found


def test_secrets_of_an_address_are_in_no_spec():
    entry = UrlDataset(name="d", source="url", url="https://me:hunter2@host/x.zip?sig=abc")
    assert "hunter2" not in json.dumps(differences(entry))
    assert "sig=abc" not in json.dumps(differences(entry))
