"""What `prh plan --online` says of sources before they are fetched, against a hub on loopback."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from prh.experiment import online
from prh.experiment.loading import load
from tests.unit.test_fetching import hub as hub  # the fixture

WEIGHTS = b"w" * 40_000
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
GOOD = {
    "config.json": json.dumps(LLAMA).encode(),
    "tokenizer_config.json": b'{"tokenizer_class": "LlamaTokenizer"}',
    "tokenizer.model": b"pieces",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": WEIGHTS,
}
IMAGES = {"name": "photos", "source": "local", "path": "."}


def language(**more) -> dict:
    return {"name": "mine", "modality": "language", "source": "hub", "id": "me/mine", **more}


def check(*models: dict, lock=None, **more) -> list[online.Finding]:
    return online.check(load({"datasets": [IMAGES], "models": list(models), **more}), lock)


def without(*names: str, **files: object) -> dict[str, bytes]:
    return {name: content for name, content in GOOD.items() if name not in names} | {
        name.replace("_json", ".json"): json.dumps(content).encode() for name, content in files.items()
    }


def test_a_model_that_is_all_there(hub, tmp_path):
    commit = hub.push("me/mine", GOOD, licence="apache-2.0")
    [finding] = check(language(licence="apache-2.0"), lock=tmp_path / "x.lock.yaml")
    assert not finding.problems
    assert str(finding) == (
        f"ok  model    mine: me/mine: commit {commit[:12]} (not pinned); licence apache-2.0; 4 files, 40.1 kB; "
        "transformers' LlamaForCausalLM; tokenizer LlamaTokenizer (tokenizer.model)"
    )
    assert hub.sent("*/model.safetensors") == 0
    assert hub.sent("*/cdn/*") == 0
    assert not (tmp_path / "x.lock.yaml").exists()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (without("model.safetensors", "pytorch_model.bin"), "no weights that can be loaded"),
        (without("config.json"), "no config.json"),
        (without("config.json", config_json={"model_type": "martian"}), "knows no model_type 'martian'"),
        (without("config.json", config_json=["llama"]), "config.json is not a JSON object"),
        (GOOD | {"config.json": b"{"}, "config.json is not JSON"),
        (
            without("config.json", config_json={"model_type": "new", "auto_map": {"AutoModel": "m.M"}}),
            "code of its own",
        ),
        (without("tokenizer.model"), "it has no tokenizer: none of tokenizer.json, tokenizer.model is there"),
        (
            without("tokenizer.model", tokenizer_config_json={"tokenizer_class": "NoSuch"}),
            "no tokenizer class 'NoSuch'",
        ),
        (
            without(tokenizer_config_json={"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["t.T", None]}}),
            "its tokenizer X is code of its own",
        ),
    ],
)
def test_what_is_wrong_with_a_model_is_said_in_one_sentence(hub, files, problem):
    hub.push("me/mine", files)
    [finding] = check(language())
    assert len(finding.problems) == 1
    assert problem in finding.problems[0]
    assert "PROBLEM" in str(finding)
    assert "\n" not in str(finding)


def test_code_of_its_own_is_no_problem_once_it_is_trusted(hub):
    hub.push("me/mine", without("config.json", config_json={"model_type": "new", "auto_map": {"AutoModel": "m.M"}}))
    [finding] = check(language(trust_remote_code=True))
    assert not finding.problems


def test_a_repository_a_revision_or_a_licence_that_is_not_so(hub):
    hub.push("me/mine", GOOD, licence="cc-by-nc-4.0")
    [absent] = check(language(id="me/typo"))
    assert "the hub has no model me/typo" in absent.problems[0]
    [revision] = check(language(revision="step99"))
    assert "step99" in revision.problems[0]
    [licence] = check(language(licence="mit"))
    assert licence.problems == ("its licence is cc-by-nc-4.0, and the entry says mit",)


def test_a_gate_is_a_problem_without_the_right_token(hub, monkeypatch):
    hub.push("me/mine", GOOD, gated=True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    [closed] = check(language(gated=True))
    assert any("it is gated: ask for access at huggingface.co/me/mine" in problem for problem in closed.problems)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    [opened] = check(language(gated=True))
    assert not opened.problems
    assert "gated, and your token opens it" in opened.facts


def test_vision_models(hub):
    hub.push("me/vit", {"config.json": b'{"model_type": "vit"}', "model.safetensors": WEIGHTS})
    vit = {"name": "vit", "modality": "vision", "source": "hub", "library": "transformers", "id": "me/vit"}
    assert "no preprocessor_config.json" in check(vit)[0].problems[0]
    hub.push("me/timm", {"config.json": b'{"architecture": "test_vit"}', "model.safetensors": WEIGHTS})
    hub.push("me/other", {"config.json": b'{"architecture": "test_martian"}', "model.safetensors": WEIGHTS})
    timm = {"modality": "vision", "source": "hub"}
    known, unknown = check({"name": "a", "id": "me/timm", **timm}, {"name": "b", "id": "me/other", **timm})
    assert "timm's test_vit" in known.facts
    assert "knows no architecture 'test_martian'" in unknown.problems[0]


def test_data_sets_and_addresses(hub):
    hub.push("me/mine", GOOD)
    hub.push("me/photos", {"data/train-0.parquet": WEIGHTS, "data/test-0.parquet": WEIGHTS}, "dataset")
    hubs = {"source": "hub", "id": "me/photos"}
    pairs = [
        {"name": "train", **hubs},
        {"name": "holdout", **hubs, "split": "holdout"},
        {"name": "pattern", **hubs, "files": ["train/*.tar"]},
        {"name": "archive", "source": "url", "url": hub.serve("photos.zip", WEIGHTS)},
        {"name": "gone", "source": "url", "url": f"{hub.address}/web/gone.zip"},
    ]
    found = {finding.name: finding for finding in online.check(load({"datasets": pairs, "models": [language()]}), None)}
    assert "1 files, 40 kB" in found["train"].facts
    assert "there is no split 'holdout'" in found["holdout"].problems[0]
    assert "has no file train/*.tar" in found["pattern"].problems[0]
    assert found["archive"].facts[0] == "40 kB"
    assert "not pinned" in found["archive"].facts[1]
    assert found["gone"].problems
    assert not found["mine"].problems


def test_the_command_prints_a_line_each_and_fails_where_one_does(hub, tmp_path):
    hub.push("me/mine", GOOD)
    settings = {"datasets": [{**IMAGES, "path": str(tmp_path)}], "models": [language(), language(name="b", id="me/b")]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "prh", "plan", "--online", "--configfile", str(tmp_path / "x.yaml")]
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    first, second, last = done.stdout.splitlines()
    assert first.startswith("ok  model    mine: me/mine: commit")
    assert second.startswith("no  model    b: me/b: PROBLEM: the hub has no model me/b")
    assert last == "2 sources, 1 with a problem; nothing was fetched."
    assert done.returncode == 1


@pytest.mark.parametrize("flags", [["--online"], ["--tflops", "1"]])
def test_the_command_asks_for_signed_addresses_and_prints_no_secret(hub, tmp_path, flags):
    hub.push("me/mine", GOOD)
    signed = hub.serve("photos.zip", WEIGHTS) + "?sig=s3cret"
    settings = {"datasets": [{"name": "photos", "source": "url", "url": signed}], "models": [language()]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "prh", "plan", *flags, "--configfile", str(tmp_path / "x.yaml")]
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "40 kB" in done.stdout, done.stderr
    assert {request.path for request in hub.requests if "/web/" in request.path} == {"/web/photos.zip?sig=s3cret"}
    assert "s3cret" not in done.stdout + done.stderr
