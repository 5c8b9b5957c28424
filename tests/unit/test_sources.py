"""`prh plan --online`: every source looked over by metadata alone, against a hub on loopback."""

import subprocess
import sys

import pytest
import yaml

from prh import fetching, sources
from prh.config import load
from prh.lockfile import Lock
from tests.unit.test_fetching import hub as hub  # the fixture

WEIGHTS = b"w" * 40_000
BERT = {"config.json": b'{"model_type": "bert"}', "model.safetensors": WEIGHTS, "vocab.txt": b"a"}


def model(name="mine", modality="language", **more):
    return {"name": name, "modality": modality, "source": "hub", "id": f"me/{name}", **more}


def load_of(*models, datasets=({"name": "d", "source": "local", "path": "."},), **more):
    return load({"datasets": list(datasets), "models": list(models), **more})


def checked(tmp_path, *models):
    found = sources.check(load_of(*models), tmp_path / "lock.yaml")
    assert list(tmp_path.iterdir()) == [], "nothing is locked or kept"
    return {source.name: source for source in found}


def one(tmp_path, **entry):
    return checked(tmp_path, model(**entry))["mine"]


def test_a_model_that_is_right(hub, tmp_path):
    commit = hub.push("me/mine", {**BERT, "pytorch_model.bin": WEIGHTS, "onnx/model.onnx": WEIGHTS}, licence="mit")
    source = one(tmp_path, licence="MIT")
    assert source.problems == []
    assert source.size == 40_000 + len(BERT["config.json"]) + 1
    assert str(source) == (
        f"ok     models/mine: me/mine at {commit[:12]}; 40 kB, not pinned, licence mit, 3 files, bert, BertTokenizer"
    )
    assert hub.sent() == len(BERT["config.json"]), "of content, nothing but the settings was read"


def test_pinned_locked_and_moved_on(hub, tmp_path):
    commit = hub.push("me/mine", BERT)
    assert "pinned" in one(tmp_path, revision=commit).facts
    lock = tmp_path / "lock.yaml"
    fetching.find("me/mine", lock=Lock(lock, "models", "mine"))
    kept = lock.read_bytes()
    new = hub.push("me/mine", {**BERT, "added.txt": b"x"})
    (source, _) = sources.check(
        load({"datasets": [{"name": "d", "source": "hub", "id": "me/d"}], "models": [model()]}), lock
    )[::-1]
    assert f"has moved on to {new[:12]}" in source.facts
    assert source.place == f"me/mine at {commit[:12]}"
    assert lock.read_bytes() == kept


WRONG = {
    "no repository": (None, {}, r"the hub has no model me/mine, or it is private"),
    "no revision": (BERT, {"revision": "v2"}, r"the model me/mine has no revision v2; correct 'revision'"),
    "no commit": (BERT, {"revision": "0" * 40}, r"has no revision 0{40}"),
    "licence": (BERT, {"licence": "apache-2.0"}, r"Its licence is mit and the entry says apache-2\.0"),
    "no weights": ({"config.json": BERT["config.json"], "vocab.txt": b"a"}, {}, r"has no weights that can be loaded; it has config"),
    "a shard missing": (
        {**BERT, "model.safetensors": None, "model-00001-of-00003.safetensors": b"w", "model-00003-of-00003.safetensors": b"w",
         "model.safetensors.index.json": b"{}"},
        {}, r"weights are not whole: model-00002-of-00003\.safetensors is missing",
    ),
    "no config": ({"model.safetensors": WEIGHTS, "vocab.txt": b"a"}, {}, r"has no config\.json, so transformers cannot load it"),
    "config is no JSON": ({**BERT, "config.json": b"{"}, {}, r"its config\.json is not JSON"),
    "config is a list": ({**BERT, "config.json": b"[]"}, {}, r"its config\.json holds no settings"),
    "architecture": ({**BERT, "config.json": b'{"model_type": "bort9"}'}, {}, r"does not know its architecture bort9: install"),
    "own code": (
        {**BERT, "config.json": b'{"model_type": "mine", "auto_map": {}}'}, {}, r"mine is code of its own: .*'trust_remote_code: true'",
    ),
    "no tokenizer": (
        {"config.json": BERT["config.json"], "model.safetensors": WEIGHTS}, {},
        r"has no vocab\.txt and no tokenizer\.json, of which BertTokenizer is made",
    ),
    "half a tokenizer": (
        {"config.json": b'{"model_type": "gpt2"}', "model.safetensors": WEIGHTS, "vocab.json": b"{}"}, {},
        r"has no merges\.txt and no tokenizer\.json, of which GPT2Tokenizer is made",
    ),
    "tokenizer class": (
        {**BERT, "tokenizer_config.json": b'{"tokenizer_class": "BortTokenizer"}'}, {},
        r"does not know its tokenizer class BortTokenizer, and it has no tokenizer\.json",
    ),
    "tokenizer with code": (
        {**BERT, "tokenizer_config.json": b'{"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["t.T", null]}}'}, {},
        r"Its tokenizer T is code of its own",
    ),
    "no image processor": (BERT, {"modality": "vision", "library": "transformers"}, r"has no preprocessor_config\.json"),
    "word vectors": (BERT, {"library": "word_vectors"}, r"Word vectors need vectors\.safetensors, which it does not have"),
    "timm architecture": (
        {**BERT, "config.json": b'{"architecture": "vit_nosuch"}'}, {"modality": "vision"},
        r"timm [\d.]+ does not know its architecture vit_nosuch",
    ),
    "no timm": (BERT, {"modality": "vision"}, r"config\.json names no architecture of timm"),
    "timm id": (None, {"modality": "vision", "id": "vit_nosuch.dino"}, r"timm has no weights on the hub for 'vit_nosuch\.dino'"),
    "bad id": (None, {"id": "me//mine"}, r"'me//mine' cannot be a model of the hub"),
    "large settings": ({**BERT, "config.json": b" " * (fetching.SMALL + 1)}, {}, r"config\.json of me/mine has 4\.19 MB"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_model(hub, tmp_path, case):
    files, entry, message = WRONG[case]
    if files is not None:
        hub.push("me/mine", {name: content for name, content in files.items() if content is not None}, licence="mit")
    source = one(tmp_path, **{"id": "me/mine", **entry})
    assert len(source.problems) == 1, source.problems
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(source.problems[0])
    assert str(source).startswith("wrong  models/mine: ")
    assert str(source).count("\n") == 0
    assert hub.sent("/cdn/*") == 0


def test_all_that_is_wrong_is_told(hub, tmp_path):
    hub.push(
        "me/mine",
        {"config.json": b'{"model_type": "bort9"}', "tokenizer_config.json": b'{"tokenizer_class": "T5Tokenizer"}'},
        licence="mit",
    )
    problems = " ".join(one(tmp_path, licence="apache-2.0").problems)
    assert all(word in problems for word in ("licence is mit", "no weights", "bort9", "no spiece.model"))


def test_gates(hub, tmp_path, monkeypatch):
    hub.push("me/mine", BERT, gated=True)
    source = one(tmp_path, gated=True)
    assert "me/mine is gated and no token is given" in source.problems[0]
    assert "the entry does not say so" in one(tmp_path).facts
    monkeypatch.setenv("HF_TOKEN", hub.token)
    source = one(tmp_path, gated=True)
    assert source.problems == []
    assert "gated" in source.facts


def test_known_classes_and_forms(hub, tmp_path):
    hub.push("me/bloom", {"config.json": b'{"model_type": "bloom"}', "model.safetensors": WEIGHTS, "tokenizer.json": b"{}",
                          "tokenizer_config.json": b'{"tokenizer_class": "BloomTokenizerFast"}'})  # fmt: skip
    hub.push("me/open_llama", {"config.json": b'{"model_type": "llama"}', "pytorch_model.bin": WEIGHTS,
                               "tokenizer.model": b"x", "tokenizer_config.json": b'{"tokenizer_class": "LlamaTokenizer"}'})  # fmt: skip
    hub.push("me/canine", {"config.json": b'{"model_type": "canine"}', "model.safetensors": WEIGHTS})
    hub.push("me/vit", {"config.json": b'{"architecture": "vit_tiny_patch16_224"}', "model.safetensors": WEIGHTS})
    found = checked(tmp_path, model("bloom"), model("open_llama"), model("canine"), model("vit", "vision"))
    assert {name: source.problems for name, source in found.items() if source.problems} == {}
    assert "pickled weights" in found["open_llama"].facts
    assert "LlamaTokenizer" in found["open_llama"].facts


def test_data_texts_tasks_and_addresses(hub, tmp_path, monkeypatch):
    from prh import language_scores

    def source_of_task(task):
        if task == "gsm8k":
            return "me/gsm8k", None
        raise ValueError(f"lm-eval has no task {task}; of a group name each task.")

    monkeypatch.setattr(language_scores, "source_of_task", source_of_task)
    card = b"---\nconfigs: [{config_name: default, data_files: [{split: train, path: 'data/train.parquet'}]}]\n---\n"
    hub.push("me/d", {"README.md": card, "data/train.parquet": WEIGHTS, "data/test.parquet": WEIGHTS}, "dataset")
    hub.push("me/gsm8k", {"main/test.parquet": WEIGHTS}, "dataset", licence="mit")
    hub.push("me/text", {"a.parquet": WEIGHTS, "b.parquet": WEIGHTS}, "dataset")
    url = hub.serve("data.tar", WEIGHTS)
    monkeypatch.chdir(tmp_path.parent)
    folder = tmp_path.parent / "photographs"
    folder.mkdir()
    data = {"source": "hub", "id": "me/d", "samples": 100}
    experiment = load_of(
        {"name": "m", "modality": "vision", "source": "random", "id": "vit_tiny_patch16_224"},
        datasets=[
            {"name": "d", **data},
            {"name": "no_split", **data, "split": "validation"},
            {"name": "no_files", **data, "files": ["data/nosuch-*.parquet"]},
            {"name": "web", "source": "url", "url": url},
            {"name": "no_web", "source": "url", "url": f"{hub.address}/web/nosuch.tar"},
            {"name": "no_folder", "source": "local", "path": "photographs"},
        ],
        texts=[{"name": "text", "source": "hub", "id": "me/text", "files": ["a.parquet"]}],
        harness=[{"name": "gsm8k", "source": "lm_eval"}, {"name": "nosuch", "source": "lm_eval"}],
    )
    folder.rmdir()  # after the experiment was read
    found = {source.name: source for source in sources.check(experiment, None)}
    problems = {name: source.problems for name, source in found.items() if source.problems}
    assert {name: len(told) for name, told in problems.items()} == dict.fromkeys(
        ["no_split", "no_files", "no_web", "no_folder", "nosuch"], 1
    )
    assert "there is no split 'validation'; there are train" in problems["no_split"][0]
    assert "me/d has no file data/nosuch-*.parquet" in problems["no_files"][0]
    assert "answers 404; correct its address" in problems["no_web"][0]
    assert problems["no_folder"] == ["photographs does not exist."]
    assert "lm-eval has no task nosuch" in problems["nosuch"][0]
    assert found["d"].size == len(WEIGHTS) + 0
    assert found["text"].size == found["gsm8k"].size == found["web"].size == len(WEIGHTS)
    assert hub.sent("/cdn/*") == hub.sent("/web/*") == 0
    last = sources.report(list(found.values())).splitlines()[-1]
    assert last == "5 of 9 sources are wrong; 160 kB to download, of which nothing was."


def test_a_fault_of_one_source_does_not_hide_the_others(hub, tmp_path, monkeypatch):
    hub.push("me/mine", BERT)
    hub.push("me/other", BERT)
    whole = sources._rights

    def broken(source, entry, snapshot):
        if source.name == "mine":
            raise KeyError("x")
        whole(source, entry, snapshot)

    monkeypatch.setattr(sources, "_rights", broken)
    found = checked(tmp_path, model(), model("other"))
    assert found["mine"].problems == ["It cannot be looked over (KeyError: 'x'.)"]
    assert found["other"].problems == []


@pytest.mark.slow
def test_the_command(hub, tmp_path):
    commit = hub.push("me/mine", BERT)
    hub.push("me/d", {"data.parquet": WEIGHTS}, "dataset")
    path = tmp_path / "mine.yaml"
    experiment = {
        "datasets": [{"name": "d", "source": "hub", "id": "me/d", "files": ["*.parquet"]}],
        "models": [model()],
    }

    def prh(*arguments):
        path.write_text(yaml.safe_dump(experiment))
        command = [sys.executable, "-m", "prh", "plan", "--online", "--configfile", str(path), *arguments]
        environment = {"PYTHONPATH": ":".join(sys.path), "HF_ENDPOINT": hub.address}
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    done = prh()
    assert done.returncode == 0, done.stderr
    assert f"ok     models/mine: me/mine at {commit[:12]}; " in done.stdout
    assert done.stdout.splitlines()[-1] == "all 2 sources are right; 80 kB to download, of which nothing was."
    experiment["models"].append(model("nosuch"))
    done = prh()
    assert done.returncode == 1
    assert "wrong  models/nosuch: me/nosuch: the hub has no model me/nosuch" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [path]
    assert prh("--offline").returncode == 2
