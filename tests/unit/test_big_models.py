"""Models that no single device holds: spread over several places they must give the same features; quantised, they say so."""

import json
import subprocess
import sys

import polars as pl
import pytest
import torch

from prh import modalities
from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import ConfigError, load
from prh.experiment.plan import Plan
from prh.io import tables
from prh.models import loading
from prh.models.repositories import ModelError
from tests.conftest import REPOSITORY
from tests.unit.test_encoders import TEXTS, tokenizer


@pytest.fixture
def llama(tmp_path):
    """A folder with four blocks of 41 kB in float32, embeddings besides."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=60, **sizes)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    return tmp_path


def entry(folder, **changes):
    name = f"m-{changes.get('quantisation')}"
    model = {
        "name": name,
        "modality": "language",
        "source": "local",
        "path": str(folder),
        "dtype": "float32",
        **changes,
    }
    return load({"datasets": [{"name": "d", "source": "hub", "id": "a/b"}], "models": [model]}).models[0]


def test_a_model_spread_over_memory_and_disk_gives_the_same_features(llama, monkeypatch):
    monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: {0: 10**12, "cpu": 110_000})
    whole = modalities.load(entry(llama), llama)
    spread = modalities.load(entry(llama, device_map="auto", gpus=2), llama)
    places = set(spread.module.hf_device_map.values())
    assert places == {"cpu", "disk"}, "no GPU is used where the device is cpu"
    assert any(parameter.is_meta for parameter in spread.module.parameters())
    layers = spread.encode(spread.tokenize(TEXTS))
    assert len(layers) == 5
    torch.testing.assert_close(layers, whole.encode(whole.tokenize(TEXTS)))
    assert spread.parameters == whole.parameters


def test_the_places_for_weights_follow_the_device(monkeypatch):
    monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: {0: 5, 1: 6, "cpu": 7})
    wanted = entry(".", device_map="auto", gpus=2)
    assert loading.placing(wanted, "cpu", torch.float32) == {"device_map": "auto", "max_memory": {"cpu": 7}}
    assert loading.placing(wanted, "cuda", torch.bfloat16)["max_memory"] == {0: 5, 1: 6, "cpu": 7}
    assert loading.placing(entry("."), "cuda", torch.bfloat16) == {}


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantisation_without_its_library_is_one_sentence(llama, bits, monkeypatch):
    monkeypatch.setattr(loading, "is_installed", lambda package: False)
    with pytest.raises(
        ModelError, match=rf"model 'm-{bits}': quantisation {bits} needs the package bitsandbytes, .* install it"
    ):
        modalities.load(entry(llama, quantisation=bits), llama)


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantised_weights_give_nearly_the_same_features(tmp_path, bits):
    pytest.importorskip("bitsandbytes", reason="needs the package bitsandbytes, which is not among the requirements")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    whole, quantised = (modalities.load(entry(tmp_path, quantisation=wanted), tmp_path) for wanted in (None, bits))
    kinds = {type(module).__name__ for module in quantised.module.modules()}
    assert {"4bit": "Linear4bit", "8bit": "Linear8bitLt"}[bits] in kinds
    pairs = zip(whole.encode(whole.tokenize(TEXTS)), quantised.encode(quantised.tokenize(TEXTS)), strict=True)
    assert min(torch.cosine_similarity(one, other.float()).min() for one, other in pairs) > 0.95
    assert quantised.parameters == whole.parameters


def test_a_quantised_model_says_so_in_its_name():
    model = {"name": "m", "modality": "language", "source": "hub", "id": "a/b", "quantisation": "4bit"}
    with pytest.raises(ConfigError, match="entry 'm': 'name' must contain 4bit"):
        load({"datasets": [{"name": "d", "source": "hub", "id": "a/b"}], "models": [model]})


def test_quantised_weights_are_asked_of_the_library(monkeypatch):
    monkeypatch.setattr(loading, "is_installed", lambda package: True)
    monkeypatch.setattr("transformers.BitsAndBytesConfig", lambda **settings: settings)
    four = loading.placing(entry(".", quantisation="4bit"), "cuda", torch.bfloat16)
    assert four["device_map"] == {"": "cuda"}
    assert four["quantization_config"]["load_in_4bit"]
    assert four["quantization_config"]["bnb_4bit_compute_dtype"] == torch.bfloat16
    eight = loading.placing(entry(".", quantisation="8bit"), "cuda", torch.bfloat16)
    assert eight["quantization_config"] == {"load_in_8bit": True}


@pytest.mark.parametrize("key", [{"device_map": "auto"}, {"quantisation": "4bit"}])
@pytest.mark.parametrize(
    "model",
    [
        {"modality": "vision", "source": "hub", "id": "resnet18.tv_in1k"},
        {"modality": "language", "source": "random", "path": "."},
        {"modality": "language", "source": "local", "path": ".", "library": "word_vectors"},
    ],
)
def test_other_models_cannot_be_spread_or_quantised(model, key):
    with pytest.raises(
        ConfigError, match=f"'{next(iter(key))}' is only for models of library transformers and source hub or local"
    ):
        load({"datasets": [{"name": "d", "source": "hub", "id": "a/b"}], "models": [{"name": "m", **model, **key}]})


@pytest.mark.parametrize(("key", "value"), [("device_map", "balanced"), ("quantisation", 4)])
def test_unknown_values_are_named(key, value):
    with pytest.raises(ConfigError, match=rf"{key}: '?{value}'? is not one of"):
        entry(".", **{key: value})


def test_features_depend_on_the_quantisation_and_weights_do_not():
    def plan(**changes):
        models = [{"name": "m-8bit", "modality": "language", "source": "hub", "id": "a/b", **changes}]
        return JobSpecs(Plan(load({"datasets": [{"name": "d", "source": "hub", "id": "a/b"}], "models": models})))

    plain, quantised = plan(), plan(quantisation="8bit", device_map="auto", gpus=2)
    assert plain.features("d", "m-8bit") != quantised.features("d", "m-8bit")
    assert plain.download_model("m-8bit") == quantised.download_model("m-8bit")
    assert quantised.best_layers().settings["models"][0]["quantisation"] == "8bit"


def test_tables_of_models_and_of_best_layers_tell_the_quantisation(tmp_path):
    """The entry's own number of parameters goes before the counted one, which stands where there is none."""
    from prh.alignment import comparisons

    models = [
        {"model": "q", "modality": "language", "family": "q", "parameters": 7, "quantisation": "4bit"},
        {"model": "v", "modality": "vision", "family": "v"},
    ]
    features = []
    for model in models:
        path = tmp_path / "d" / f"{model['model']}.parquet"
        facts = {"model": model["model"], "dataset": "d", "layer_names": ["a", "b"], "parameters": 3}
        tables.write(pl.DataFrame({"sample_id": ["s"]}).to_arrow(), path, facts)
        features.append(str(path))
    best = {"model_x": "q", "model_y": "v", "score": 0.5, "layer_x": 0, "layer_y": 1}
    rows = []
    for model, content in (("v", []), ("q", [best])):
        rows.append(tmp_path / "d" / "mutual_knn" / f"{model}.best.parquet")
        made_by = {"model": model, "dataset": "d", "metric": "mutual_knn"}
        tables.write(pl.DataFrame(content, schema=comparisons.BEST).to_arrow(), rows[-1], made_by)
    script = REPOSITORY / "workflow_scripts" / "best_layers.py"
    places = [
        "--rows",
        *rows,
        "--features",
        *features,
        "--models",
        tmp_path / "models.parquet",
        "--best",
        tmp_path / "b.parquet",
    ]
    subprocess.run([sys.executable, script, "--spec", json.dumps({"models": models}), *map(str, places)], check=True)
    told = pl.read_parquet(tmp_path / "models.parquet").select("model", "parameters", "quantisation", "layers")
    assert told.rows() == [("q", 7, "4bit", 2), ("v", 3, None, 2)]
    found = pl.read_parquet(tmp_path / "b.parquet").select("quantisation_x", "quantisation_y")
    assert found.rows() == [("4bit", None)]


def test_parameters_are_counted_without_weights(llama):
    (llama / "model.safetensors").unlink()
    embeddings, block = 60 * 32, 4 * 32 * 32 + 3 * 32 * 64 + 2 * 32
    assert loading.count_parameters(entry(llama), llama) == 2 * embeddings + 4 * block + 32


def test_parameters_of_a_class_that_transformers_does_not_have(llama):
    """The config names no known class: the headless model is counted."""
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}))
    with_head = 60 * 32 * 2 + 4 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32
    assert loading.count_parameters(entry(llama), llama) == with_head - 60 * 32


def test_a_spread_model_takes_as_many_gpus_as_its_weights_fill_and_memory_for_them():
    def plan(compute=None, **changes):
        model = {"name": "m-4bit", "modality": "language", "source": "hub", "id": "a/b", **changes}
        data = [{"name": "d", "source": "hub", "id": "a/b"}]
        return Plan(load({"datasets": data, "models": [model], "compute": compute or {}}))

    big = {"device_map": "auto", "parameters": 65_285_660_672}  # 131 GB in bfloat16
    assert plan(**big).gpus("m-4bit") == 2
    assert plan({"gpu_memory": 24}, **big).gpus("m-4bit") == 7
    assert plan(**big, quantisation="4bit").gpus("m-4bit") == 1
    assert plan(**big, gpus=3).gpus("m-4bit") == 3
    assert plan(parameters=7_000_000_000).gpus("m-4bit") == 1
    assert plan({"device": "cpu"}, **big).gpus("m-4bit") == 0
    assert 131_000 < plan({"device": "cuda"}, **big).memory("m-4bit", 1) < 140_000
    for device in ("cpu", "auto"):  # where auto finds no GPU, weights are float32
        assert plan({"device": device}, **big).memory("m-4bit", 1) > 261_000
    assert plan(**big, dtype="float16").memory("m-4bit", 1) < 140_000
    assert plan().memory("m-4bit", 2) == 2 * plan().memory("m-4bit", 1) == 32_000
    few, many = (JobSpecs(plan(**big, **gpus)) for gpus in ({}, {"gpus": 3}))
    data = next(iter(few.plan.datasets))
    assert few.features(data, "m-4bit") == many.features(data, "m-4bit")
    assert few._scored("m-4bit") == many._scored("m-4bit")


@pytest.mark.parametrize(
    ("keys", "said"), [({"device_map": "auto"}, "needs 'gpus'"), ({"gpus": 2}, "needs 'device_map: auto'")]
)
def test_gpus_are_told_for_spread_models_and_no_others(keys, said):
    with pytest.raises(ConfigError, match=said):
        entry(".", **keys)
