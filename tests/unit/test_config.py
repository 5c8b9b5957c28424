import copy
import math
import re

import numpy as np
import pytest
import yaml
from scipy.stats import binom

from prh.core.alignment import compare
from prh.core.metrics import Representation
from prh.experiment.checks import listed_for_halves
from prh.experiment.loading import ConfigError, load
from prh.experiment.registries import expand
from prh.experiment.schema.base import safe_folder
from prh.experiment.schema.json_schema import json_schema


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "data").mkdir()
    return {
        "datasets": [{"name": "photos", "source": "local", "path": "data", "samples": 100}],
        "models": [
            {"name": "vit", "modality": "vision", "source": "hub", "id": "vit_tiny_patch16_224.augreg_in21k"},
            {"name": "gpt2", "modality": "language", "source": "hub", "id": "openai-community/gpt2"},
        ],
    }


def test_defaults_are_filled_in(raw, tmp_path):
    experiment = load(raw, tmp_path)
    assert experiment.alignment.metrics == ["mutual_knn"]
    assert experiment.model("vit").pooling == "auto"
    assert experiment.dataset("photos").on_error == "fail"


def edit(raw, path, value):
    raw = copy.deepcopy(raw)
    *way, last = path
    node = raw
    for step in way:
        node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
    if value is None:
        del node[last]
    elif isinstance(node, list):
        node.append(value)
    else:
        node[last] = value
    return raw


MISTAKES = {
    "unknown key": (["modelz"], 1, "the experiment: unknown key 'modelz'."),
    "unknown key in a section": (["alignment", "metric"], "cka", "alignment: unknown key 'metric' (did you mean 'metrics'?)."),
    "unknown key inside an entry": (["models", 0, "checkpoint"], {"sate": "model"}, "models, entry 'vit', checkpoint: unknown key 'sate' (did you mean 'state'?)."),
    "unknown key in an entry": (["models", 0, "pooing"], "cls", "models, entry 'vit': unknown key 'pooing' (did you mean 'pooling'?)."),
    "missing key": (["models", 0, "name"], None, "models, entry 1: the key 'name' is missing."),
    "missing source": (["models", 1, "source"], None, "models, entry 'gpt2': the key 'source' is missing."),
    "no data": (["datasets"], [], "the experiment, datasets: List should have at least 1 item"),
    "unknown source of data": (["datasets", 0, "source"], "ftp", "datasets, entry 'photos': unknown 'source' 'ftp'; known: 'local', 'hub', 'url'"),
    "unknown source of a model": (["models", 0, "source"], "ftp", "models, entry 'vit', source: 'ftp' is not one of 'features', 'hub', 'kernel', 'local', 'python', 'random', 'url', 'world'."),
    "unknown modality": (["models", 0, "modality"], "smell", "models, entry 'vit': unknown 'modality' 'smell'; known: 'vision', 'language', 'world'."),
    "no id": (["models", 0, "id"], None, "models, entry 'vit': source 'hub' needs 'id', the repository or timm name."),
    "wrong type": (["alignment", "k"], ["ten"], "alignment, k[0]: Input should be a valid integer"),
    "name not fit for a path": (["models", 0, "name"], "a/b", "models, entry 'a/b', name: String should match pattern"),
    "preparation told twice": (["alignment"], {"preparation": "official", "clamp": 0.9, "normalise": True}, "alignment: preparation 'official' fixes clamp, normalise: leave these out"),
    "unknown preparation": (["alignment", "preparation"], "theirs", "alignment, preparation: 'theirs' is not one of 'own', 'official',"),
    "unknown metric": (["alignment", "metrics"], ["mutual_kn"], "alignment.metrics: there is no metric 'mutual_kn' (did you mean 'mutual_knn'?)."),
    "k too large": (["datasets", 0, "samples"], 10, "alignment.k: 10 neighbours need more than the 10 samples of data set 'photos'"),
    "k above k_max": (["alignment", "k_max"], 5, "alignment.k: 10 is above k_max = 5; raise k_max."),
    "gallery too small": (["alignment", "n"], [5, 50], "alignment.n: a gallery of 5 is too small for k = 10."),
    "lists too short for halves": (["alignment"], {"k": [45], "k_max": 50}, "alignment.k_max: 50 is too short for k = 45 in halves of the samples; raise it to 99, or set"),
    "model of a data set": (["datasets", 0, "models"], ["vitt"], "datasets, entry 'photos': there is no model 'vitt' (did you mean 'vit'?)."),
    "training of a hub model": (["models", 0, "training"], {"architecture": "test_vit"}, "models, entry 'vit': source 'world' and 'training' belong together"),
    "probe of unknown data": (["probes"], [{"name": "p", "train": "photo", "label": "class"}], "probe 'p': there is no data set 'photo' (did you mean 'photos'?)."),
    "probe of an unknown label": (["probes"], [{"name": "p", "train": "photos", "label": "class"}], "probe 'p': add 'class' to the labels of data set 'photos'."),
    "text without path": (["texts"], [{"name": "t", "source": "local"}], "texts, entry 't': the key 'path' is missing."),
    "text of the hub without id": (["texts"], [{"name": "t", "source": "hub"}], "texts, entry 't': the key 'id' is missing."),
    "id of a local text": (["texts"], [{"name": "t", "source": "local", "path": "data", "id": "a/b"}], "texts, entry 't': unknown key 'id'."),
    "no bytes of text": (["texts"], [{"name": "t", "source": "hub", "id": "a/b", "bytes": 0}], "texts, entry 't', bytes: Input should be greater than or equal to 1"),
    "no pattern of files": (["datasets", 1], {"name": "h", "source": "hub", "id": "a/b", "files": []}, "datasets, entry 'h', files: List should have at least 1 item"),
    "bins without classes": (["probes"], [{"name": "p", "train": "photos", "label": "class", "bins": 4}], "probes, entry 'p': 'bins' merges classes, so 'classes' must be set and larger than 'bins'."),
    "more bins than classes": (["probes"], [{"name": "p", "train": "photos", "label": "class", "classes": 4, "bins": 4}], "probes, entry 'p': 'bins' merges classes, so 'classes' must be set and larger than 'bins'."),
    "missing folder": (["datasets", 0, "path"], "nowhere", "data set 'photos': path nowhere does not exist"),
    "template without caption": (["models", 1, "template"], "hello", "models, entry 'gpt2': 'template' must contain {caption} and no other field; write a literal brace as {{ or }}."),
    "template with another field": (["models", 1, "template"], "{caption} {x}", "models, entry 'gpt2': 'template' must contain {caption} and no"),
    "template with a caption in braces": (["models", 1, "template"], "{{caption}}", "models, entry 'gpt2': 'template' must contain {caption} and no"),
    "template with an open brace": (["models", 1, "template"], "{caption} {", "models, entry 'gpt2': 'template' must contain {caption} and no"),
    "k twice": (["alignment", "k"], [10, 10], "alignment.k: 10 is listed 2 times; list it once."),
    "metric twice": (["alignment", "metrics"], ["cka", "cka"], "alignment.metrics: cka is listed 2 times; list it once."),
    "n twice": (["alignment", "n"], [50, 50], "alignment.n: 50 is listed 2 times; list it once."),
    "gallery too large": (["alignment", "n"], [20, 500], "alignment.n: a gallery of 500 needs more than the 100 samples of data set 'photos'."),
    "k too large for halves": (["alignment"], {"k": [60], "k_max": 128}, "alignment.k: 60 neighbours need more than half of the 100 samples of data set 'photos'; lower k, or set"),
    "one subsample": (["alignment", "subsamples"], 1, "alignment.subsamples: one half-sample has no spread; ask for 2 at least"),
    "unknown reference": (["figures", "reference"], "vitt", "figures.reference: there is no vision family or model 'vitt' (did you mean 'vit'?)."),
    "reference of language": (["figures", "reference"], "gpt2", "figures.reference: there is no vision family or model 'gpt2'."),
    "name of a table": (["models", 9], {"name": "vit.best", "modality": "vision", "source": "random", "id": "test_vit"},
                        "models: 'vit.best' has the path of a table of 'vit'; rename it."),
    "name of a sweep": (["models", 9], {"name": "gpt2.sweep", "modality": "vision", "source": "random", "id": "test_vit"},
                        "models: 'gpt2.sweep' has the path of a table of 'gpt2'; rename it."),
    "names of one file": (["models", 9], {"name": "VIT", "modality": "vision", "source": "random", "id": "test_vit"},
                          "models: the names 'vit' and 'VIT' are one file on some disks; rename one."),
    "pair of an unknown model": (["figures", "layer_pairs"], [["vit", "bert"]], "figures.layer_pairs: there is no model 'bert'."),
    "duplicate model": (["models", 9], {"name": "vit", "modality": "vision", "source": "random", "id": "vit_tiny_patch16_224"},
                        "models: the name 'vit' is used 2 times; give each entry its own."),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_one_sentence(raw, tmp_path, case):
    path, value, said = MISTAKES[case]
    with pytest.raises(ConfigError) as caught:
        load(edit(raw, path, value), tmp_path)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_brace_and_both_kinds_of_reference_are_fine(raw, tmp_path):
    load(edit(raw, ["models", 1, "template"], "{{ {caption} }}"), tmp_path)
    for reference in ("vit", "ViT"):
        load(edit(edit(raw, ["models", 0, "family"], "ViT"), ["figures", "reference"], reference), tmp_path)


@pytest.mark.parametrize("k", [1, 2, 10, 42, 300, 3000])
def test_lists_are_deep_enough_for_all_halves_of_an_experiment(k):
    assert binom.cdf(k - 1, listed_for_halves(k), 0.5) < 1e-11


@pytest.mark.parametrize("place", ["config.schema.yaml", "docs/metrics.md"])
def test_the_depth_that_is_documented_is_taken(repository, place):
    assert "2 k + 10 sqrt(k) + 45" in " ".join((repository / place).read_text().split())
    over = [2 * k + 10 * math.sqrt(k) + 45 - listed_for_halves(k) for k in range(1, 3000)]
    assert 0 <= min(over) <= max(over) < 30


@pytest.mark.parametrize("k", [1, 10, 42])
def test_an_experiment_at_the_limit_of_its_lists_is_compared(k):
    """At n = 500, 3 k (what was once held to be enough) left samples with fewer than k neighbours in a half."""
    rng = np.random.default_rng(k)

    def model(name):
        places = np.arange(500)[:, None]
        lists = rng.permuted(np.tile(np.arange(1, 500), (500, 1)), axis=1)[:, : listed_for_halves(k)]
        return Representation(name, neighbours=[(places + lists) % 500])

    found = compare(model("x"), model("y"), "mutual_knn", k, subsamples=100, splits=10)
    assert found.crossfitted is not None
    assert (found.interval is None) == (found.best == 0)  # no neighbour shared at all: nothing varies


def test_all_mistakes_are_told_at_once(raw, tmp_path):
    raw = edit(edit(raw, ["alignment", "metrics"], ["nope"]), ["datasets", 0, "path"], "nowhere")
    with pytest.raises(ConfigError) as caught:
        load(raw, tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_schema_file_is_the_schema_of_the_code(repository):
    assert (repository / "config.schema.yaml").read_text() == json_schema(), "run `make schema`"


def test_every_key_is_explained():
    def walk(node, where=""):
        if isinstance(node, dict):
            for name, value in node.get("properties", {}).items():
                if "$ref" not in value:
                    assert "description" in value or "const" in value, f"{where}.{name} has no docstring"
            for name, value in node.items():
                walk(value, f"{where}.{name}")

    walk(yaml.safe_load(json_schema())["$defs"])


def test_every_experiment_file_loads_or_lacks_only_its_data(repository):
    for path in [repository / "config.yaml", *sorted((repository / "experiments").glob("*.yaml"))]:
        try:
            load(expand(yaml.safe_load(path.read_text()), repository), repository)
        except ConfigError as error:
            assert all("does not exist" in line for line in str(error).splitlines()), path


def test_the_experiment_of_the_readme_loads(repository):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    experiment = load(expand(yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])))
    assert [model.modality for model in experiment.models] == ["vision", "language"]


def picture_folder(folder):
    (folder / "cat").mkdir()
    (folder / "cat/1.png").write_bytes(b"never opened")


def texts_alone(folder):
    (folder / "metadata.jsonl").write_text('{"text": "a"}\n')


def csv_of_texts(folder):
    (folder / "metadata.csv").write_text("text\na\n")


def images_with_metadata(folder):
    (folder / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a"}\n')


def damaged_metadata(folder):
    (folder / "metadata.jsonl").write_bytes(b"\xff{")


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (picture_folder, ("image", None)),
        (texts_alone, (None, "text")),
        (csv_of_texts, (None, "text")),
        (images_with_metadata, ("image", "text")),
        (damaged_metadata, ("image", "text")),
        (lambda folder: None, ("image", "text")),
    ],
)
def test_local_data_need_not_say_what_they_cannot_have(raw, tmp_path, fill, expected):
    fill(tmp_path / "data")
    entry = load(raw, tmp_path).dataset("photos")
    assert (entry.image, entry.captions) == expected
    raw["datasets"][0] |= {"image": "image", "captions": "text"}
    entry = load(raw, tmp_path).dataset("photos")
    assert (entry.image, entry.captions) == ("image", "text")


def test_a_path_longer_than_any_file_name_is_said_to_be_missing(raw, tmp_path):
    raw["datasets"][0]["path"] = "x" * 300
    with pytest.raises(ConfigError, match=r"data set 'photos': path x+ does not exist"):
        load(raw, tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (["models", 0, "layers"], "blocks.(", "'blocks.(' is no regular expression"),
        (["models", 0, "checkpoint"], {"drop": "(?P<"}, "'(?P<' is no regular expression"),
        (["models", 0, "id"], "vit_tiny_patch16_244", "timm has no architecture 'vit_tiny_patch16_244' (did you mean"),
        (["models", 0, "name"], "x" * 255, "255 letters are too many; at most 100 may be"),
        (["models", 0, "seed"], True, "'seed' is true, and wants another kind of value"),
        (["models", 0, "seed"], 2**63, "seed: a number of 19 digits is too large"),
        (["models", 0, "model_args"], {"x": float("nan")}, "finite number"),
        (
            ["models", 0, "model_args"],
            {"checkpoint_path": "/x.pth"},
            "'checkpoint_path' is not an argument of an architec",
        ),
        (
            ["models", 0, "model_args"],
            {"_attn_implementation": "me/code"},
            "'_attn_implementation' is not an argument of an",
        ),
        (["models", 1, "template"], "{caption:>1000000000}", "must contain {caption} and no other field"),
        (["models", 1, "template"], "{caption!r}", "must contain {caption} and no other field"),
        (["alignment"], {"clamp": float("nan")}, "clamp"),
        (["compute"], {"memory_gb": float("inf")}, "finite number"),
        (["datasets", 0, "path"], "x/" * 3000, "does not exist"),
        (["datasets", 0, "path"], "a\0b", "has a character that cannot be printed"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_only_a_job_would_have_found_is_told_before_any(raw, tmp_path, place, value, said):
    node = raw
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(raw, tmp_path)


@pytest.mark.parametrize("name", ["local-dir:/etc", "../x", "hf-hub:me/x"])
def test_random_weights_are_of_an_architecture_by_name(raw, tmp_path, name):
    raw["models"][0] |= {"source": "random", "id": name}
    with pytest.raises(ConfigError, match=re.escape(f"{name!r} is not the name of a timm architecture")):
        load(raw, tmp_path)


@pytest.mark.parametrize("folder", ["../x", "/etc", "a/../../b", ".."])
def test_a_folder_outside_of_its_archive_is_refused(raw, tmp_path, folder):
    raw["datasets"].append({"name": "web", "source": "url", "url": "https://host/a.zip", "folder": folder})
    with pytest.raises(ConfigError, match="leads out of the archive; name a folder in it"):
        load(raw, tmp_path)


def test_addresses_that_differ_in_a_secret_only_are_refused_without_telling_it(raw, tmp_path):
    raw["models"] += [
        {
            "name": name,
            "modality": "vision",
            "source": "url",
            "id": "resnet18",
            "url": f"https://host/x?token={name}5ecret",
        }
        for name in "ab"
    ]
    with pytest.raises(ConfigError, match="the addresses of 'a' and 'b' differ only in what may be") as error:
        load(raw, tmp_path)
    assert "5ecret" not in str(error.value)


@pytest.mark.parametrize("results", ["./out", "out/", ".//out//", "././out", "out"])
def test_what_says_nothing_in_the_folder_of_results_is_left_out(results):
    assert safe_folder(results) == "out"
    assert safe_folder("/a//b/") == "/a/b"
    assert safe_folder("../out") == "../out"
