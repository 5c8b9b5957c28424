"""What `prh plan` tells of an experiment before it runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prh.downloads.hub import find
from prh.downloads.lockfile import Lock
from prh.experiment import costs
from prh.experiment.downloads import downloads, parameters
from prh.experiment.loading import load
from prh.experiment.plan import ACTIVATIONS, Plan
from tests.unit.test_fetching import hub as hub  # the fixture

WEIGHTS = b"w" * 40_000


def model(name, modality="language", **more):
    return {"name": name, "modality": modality, "source": "hub", "id": f"me/{name}", **more}


def experiment(**more):
    photos = {"name": "photos", "source": "hub", "id": "me/photos", "samples": 100}
    models = [model("mine"), model("vit", "vision", library="transformers", parameters=1_000_000_000)]
    return load({"datasets": [photos], "models": models, **more})


def sizes(found):
    return {item.name: (item.size, item.exact, item.note) for item in found}


def test_sizes_are_the_hubs(hub, tmp_path):
    hub.push("me/mine", {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": WEIGHTS})
    hub.push("me/photos", {"train.parquet": WEIGHTS}, "dataset")
    lock = tmp_path / "paper.lock.yaml"
    found = sizes(downloads(experiment(), lock, online=True))
    assert found["mine"] == (40_002, True, "")
    assert found["photos"] == (40_000, True, "at most: all splits")
    assert found["vit"][:2] == (4e9, False)
    assert "the hub has no model me/vit" in found["vit"][2]
    assert not lock.exists()

    find("me/mine", lock=Lock(lock, "models", "mine"))
    assert sizes(downloads(experiment(), lock, online=True))["mine"] == (40_002, True, "locked")
    new = hub.push("me/mine", {"config.json": b"{}", "model.safetensors": WEIGHTS * 2})
    moved = (40_002, True, f"locked; has moved on to {new[:12]}")
    assert sizes(downloads(experiment(), lock, online=True))["mine"] == moved
    assert hub.sent() == 0


def test_what_is_here_has_moved_on_too(hub, tmp_path):
    hub.push("me/mine", {"config.json": b"{}", "model.safetensors": WEIGHTS})
    lock, weights = tmp_path / "paper.lock.yaml", tmp_path / "models/mine/weights.json"
    find("me/mine", lock=Lock(lock, "models", "mine"))
    weights.parent.mkdir(parents=True)
    weights.write_text("{}")
    new = hub.push("me/mine", {"config.json": b"{}", "model.safetensors": WEIGHTS * 2})
    found = sizes(downloads(experiment(results=str(tmp_path)), lock, online=True))
    assert found["mine"] == (0, True, f"is here; locked; has moved on to {new[:12]}")


def test_data_of_tasks_are_downloads(hub, monkeypatch):
    from prh.competence import harness_tasks

    monkeypatch.setattr(harness_tasks, "source_of_task", lambda task: (f"me/{task}", None))  # lm-eval takes 10 s
    hub.push("me/gsm8k", {"main/train.parquet": WEIGHTS, "main/test.parquet": WEIGHTS}, "dataset")
    asked = experiment(harness=[{"name": "gsm8k", "source": "lm_eval"}])
    assert sizes(downloads(asked, None, online=True))["gsm8k"] == (80_000, True, "")
    assert sizes(downloads(asked, None, online=False))["gsm8k"] == (None, False, "")


def test_what_is_here_is_not_counted(tmp_path):
    weights = tmp_path / "models/mine/weights.json"
    weights.parent.mkdir(parents=True)
    weights.write_text("{}")
    found = sizes(downloads(experiment(results=str(tmp_path)), None, online=False))
    assert found["mine"] == (0, True, "is here")
    assert found["photos"] == (None, False, "")


@pytest.mark.parametrize(
    ("entry", "size", "count"),
    [
        ({"id": "bigscience/bloomz-560m"}, None, 560e6),
        ({"id": "bigscience/bloomz-1b1"}, None, 1.1e9),
        ({"id": "openlm-research/open_llama_7b"}, None, 7e9),
        ({"id": "huggyllama/llama-65b"}, None, 65e9),
        ({"id": "google/gemma-2b"}, 1.0, 2e9),
        ({"id": "me/unnamed", "parameters": 5}, None, 5),
        ({"id": "me/unnamed"}, 3e9, 1.5e9),
        ({"id": "me/unnamed", "modality": "vision"}, 4e9, 1e9),
        ({"id": "me/unnamed"}, None, None),
        ({"id": "me/web2md"}, None, None),
        ({"id": "test_vit", "library": "timm", "modality": "vision", "model_args": {}}, None, 371_240),
    ],
)
def test_numbers_of_parameters(entry, size, count):
    assert parameters({"name": "x", "modality": "language", **entry}, size) == count


def test_the_rule_for_widths_is_near_known_models():
    assert costs.width(86e6) == pytest.approx(12 * 768, rel=0.2)
    assert costs.width(6.7e9) == pytest.approx(32 * 4096, rel=0.2)
    assert costs.width(65e9) == pytest.approx(80 * 8192, rel=0.2)


def test_costs_grow_with_what_they_are_of():
    def features(samples, parameters):
        models = [model("vit", "vision", library="transformers", parameters=parameters)]
        photos = {"name": "photos", "source": "hub", "id": "me/photos", "samples": samples}
        plan = Plan(load({"datasets": [photos], "models": models}))
        return {stage.name: stage for stage in costs.stages(plan, [], 50, 5e7)}["features"]

    base, more, larger = features(1000, 10**9), features(2000, 10**9), features(1000, 10**10)
    assert more.disk == pytest.approx(2 * base.disk)
    assert more.memory == base.memory == pytest.approx(2.4e9 + 2e9)
    assert larger.memory == pytest.approx(24e9 + 2e9)
    assert larger.hours > base.hours
    assert more.hours > base.hours


def test_a_cpu_holds_weights_in_float32_and_is_measured():
    models = [model("m", parameters=10**9), model("n-4bit", parameters=10**9, quantisation="4bit")]
    photos = {"name": "photos", "source": "hub", "id": "me/photos", "samples": 100}

    def memory(device, names):
        chosen = [entry for entry in models if entry["name"] in names]
        plan = Plan(load({"datasets": [photos], "models": chosen, "compute": {"device": device}}))
        return {stage.name: stage.memory for stage in costs.stages(plan, [], 50, 5e7)}["features"] - ACTIVATIONS

    assert (memory("cpu", ["m"]), memory("auto", ["m"])) == pytest.approx((4.8e9, 2.4e9))
    assert memory("cuda", ["n-4bit"]) == pytest.approx(0.6e9)
    assert memory("cuda", ["m", "n-4bit"]) == pytest.approx(2.4e9)
    tflops, known = costs.speed(experiment(compute={"device": "cpu"}))
    assert 1e-3 < tflops < 100
    assert "measured just now on 2 threads" in known


def test_comparisons_hold_a_gpu_where_the_experiment_says_cuda():
    def alignment(device, *metrics):
        plan = Plan(experiment(compute={"device": device}, alignment={"metrics": list(metrics)}))
        return {stage.name: stage for stage in costs.stages(plan, [], 50, 5e7)}["alignment"]

    assert alignment("cpu", "cka").held == alignment("auto", "cka").held == 0
    assert 0 < alignment("cuda", "mutual_knn").held < alignment("cuda", "mutual_knn", "cka").held
    assert alignment("cuda", "cka").held < alignment("cuda", "cka").hours == alignment("auto", "cka").hours


def test_a_speed_that_nothing_tells_is_called_assumed(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    tflops, known = costs.speed(experiment())
    assert tflops == costs.ASSUMED_TFLOPS
    assert "ASSUMED" in known
    assert "50 TFLOP/s (ASSUMED" in costs.report(experiment(), None, online=False, tflops=None, bandwidth=5e7)


def test_tasks_have_their_own_numbers_of_questions():
    def hours(**task):
        plan = Plan(experiment(harness=[{"name": "gsm8k", "source": "lm_eval", **task}], models=[model("m-7b")]))
        return {stage.name: stage.held for stage in costs.stages(plan, [], 50, 5e7)}["benchmarks"]

    assert hours() == hours(limit=5_000) > hours(limit=500)
    assert hours(name="hellaswag") > 2 * hours()


def test_the_paper_costs_what_is_documented(repository, monkeypatch):
    monkeypatch.chdir(repository)
    told = prh("plan", "--configfile", "experiments/paper.yaml", "--tflops", 100, "--offline").stdout
    table = next(part for part in told.split("\n\n") if part.startswith("stage"))
    assert f"```\n{table}\n```" in (repository / "docs/paper.md").read_text()


def prh(*arguments: object) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "prh", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_command(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump(
            {"datasets": [{"name": "photos", "source": "hub", "id": "me/photos"}], "models": [model("m-7b")]}
        )
    )
    done = prh("plan", "--configfile", path)
    assert done.returncode == 0, done.stderr
    assert "models/m-7b" in done.stdout
    assert "~14 GB" in done.stdout
    assert "The hub was not asked" in done.stdout
    assert "10,000 samples are assumed of photos" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if line][4:11] == [
        *("datasets", "models", "features", "alignment", "benchmarks", "studies", "all")
    ]
    assert sorted(Path(tmp_path).iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("[1", "is not YAML"),
        ("- a", "is no experiment"),
        ("models: []", "datasets' is missing"),
    ],
)
def test_the_command_on_what_is_no_experiment(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    done = prh("plan", "--configfile", path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
