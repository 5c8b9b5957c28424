"""What modalities declare, and entries of those that come from outside."""

from typing import Literal

import numpy as np
import pytest

import prh
from prh import modalities
from prh.experiment import schema
from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import ConfigError, load
from prh.experiment.plan import Plan
from prh.experiment.schema import Model
from prh.experiment.specs import differences, filled
from prh.io.functions import resolved
from prh.modalities import row_batches
from tests.unit.test_features import write_shards


class Letters(prh.ModelEntry):
    modality: Literal["letters"]
    alphabet: str = "abc"


class Counts:
    layer_names, parameters = ["counts"], None

    def __init__(self, width=2):
        self.width = width

    def encode(self, samples):
        return [np.full((len(samples), self.width), len(samples["captions"][0]))]


@pytest.fixture
def letters(monkeypatch):
    modalities.known()
    modality = prh.Modality("letters", entry=Letters, load=lambda *_: Counts(), reads=("captions",))
    monkeypatch.setitem(modalities.MODALITIES, "letters", modality)
    return modality


ENTRY = {"name": "vowels", "modality": "letters", "alphabet": "aeiou"}


def experiment(**changes):
    photos = {"name": "photos", "source": "hub", "id": "a/b", "revision": "main"}
    return {"datasets": [photos, {**photos, "name": "pictures", "captions": None}], "models": [{**ENTRY, **changes}]}


def test_each_modality_of_the_workflow_names_what_is_there():
    for name, modality in modalities.known().items():
        if name != "given":  # under any name that the user chooses
            assert set(resolved(modality.entry).model_fields["modality"].annotation.__args__) == {name}
        loaders = modality.load.values() if isinstance(modality.load, dict) else [modality.load]
        functions = [*loaders, modality.encode, modality.train, modality.repository, modality.give]
        assert all(callable(resolved(function)) for function in functions if function)


def test_an_entry_of_a_modality_from_outside_is_of_its_class(letters):
    entry = load(experiment()).models[0]
    assert type(entry) is Letters
    assert differences(entry) == ENTRY
    assert filled(Model, {"name": "v", "modality": "letters"}).alphabet == "abc"
    assert type(filled(Model, {"modality": "vision"})) is schema.VisionModel


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"famly": "a"}, "models, entry 'vowels': unknown key 'famly' (did you mean 'family'?)."),
        ({"alphabet": 3}, "models, entry 'vowels', alphabet: Input should be a valid string (got 3)."),
        ({"modality": "letter"}, "unknown 'modality' 'letter'; known: 'vision', 'language', 'world', 'letters'."),
    ],
)
def test_a_mistake_in_it_is_one_sentence(letters, changes, said):
    with pytest.raises(ConfigError) as caught:
        load(experiment(**changes))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_without_weights_has_no_job_for_them_and_holds_no_gpu(letters):
    plan = Plan(load(experiment()))
    assert plan.runs() == [("photos", "vowels")]
    assert not plan.has_weights("vowels")
    assert plan.encoded() == ["vowels"]
    assert plan.gpus("vowels") == 0
    assert JobSpecs(plan).features("photos", "vowels").settings == {"model": ENTRY}


def test_rows_reach_an_encoder_in_batches_and_come_back_in_order(letters, tmp_path):
    shards = write_shards(tmp_path, [["a"] * (1 + i % 2) for i in range(6)])
    told = []
    entry = Letters(**ENTRY)
    found = list(row_batches.encode(Counts(), shards, entry=entry, batch_size=1, advance=told.append))
    assert [layers[0][:, 0].tolist() for layers in found] == [[1, 2, 1, 2], [1, 2]]
    assert told == [1] * 6
    wrong = Counts()
    wrong.layer_names = ["counts", "more"]
    with pytest.raises(modalities.FeatureError, match=r"model 'vowels' gives arrays of .* each layer must be"):
        list(row_batches.encode(wrong, shards, entry=entry))
