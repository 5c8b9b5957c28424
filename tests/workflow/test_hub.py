"""A small paper.yaml, from a hub on loopback to its figures: fetched, locked, and then computed without the hub.

Three vision and three language models, so that the figures over models (2 and 3 of the paper) are drawn too.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys

import polars as pl
import pytest
import torch
import yaml
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from tests.hub import Hub
from tests.workflow.conftest import lay_out

pytestmark = [pytest.mark.slow, pytest.mark.whole]

SAMPLES, PER_CLASS = 48, 24
CLASSES = ["airplane", "automobile", "bird", "cat", "frog", "ship"]
TASKS = {"wings": ["airplane", "bird", "cat"], "wheels": ["automobile", "ship"], "legs": ["cat", "frog"]}


MOBILENETS = {"v025": "mobilenet_v1_0.25_128", "v050": "mobilenet_v1_0.50_160", "v075": "mobilenet_v1_0.75_192"}
TINY = {"tiny": 32, "tinier": 16}  # width


def parquet(rows: dict) -> bytes:
    stream = io.BytesIO()
    pl.DataFrame(rows).write_parquet(stream)
    return stream.getvalue()


def captioned(real) -> dict[str, bytes]:
    """Photographs and captions, in two Parquet files as the hub has them, and a split that nobody asks for."""
    rows = [json.loads(line) for line in (real / "flickr1k/metadata.jsonl").read_text().splitlines()[:SAMPLES]]
    images = [{"bytes": (real / "flickr1k" / row["file_name"]).read_bytes(), "path": None} for row in rows]
    table = {"image": images, "text": [row["text"][0] for row in rows]}
    half = SAMPLES // 2
    return {
        "README.md": b"# Photographs with captions\n",
        "data/train-00000-of-00002.parquet": parquet({key: column[:half] for key, column in table.items()}),
        "data/train-00001-of-00002.parquet": parquet({key: column[half:] for key, column in table.items()}),
        "data/test-00000-of-00001.parquet": parquet({key: column[:1] for key, column in table.items()}),
    }


def classified(real, classes: list[str]) -> dict[str, bytes]:
    """Small photographs of some classes of CIFAR-10."""
    files = [path for name in classes for path in sorted((real / "cifar10/train" / name).iterdir())[:PER_CLASS]]
    images = [{"bytes": path.read_bytes(), "path": None} for path in files]
    return {"data/train-00000-of-00001.parquet": parquet({"image": images, "label": [f.parent.name for f in files]})}


def tiny_language_model(real, folder, width: int) -> None:
    """Another Llama with the tokenizer of the first, never trained, smaller."""
    shutil.copytree(real / "weights/language/stories260K", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(0)
    sizes = {"vocab_size": 512, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512)
    LlamaForCausalLM(config).save_pretrained(folder)


def fill(hub: Hub, real, folder) -> None:
    for name in MOBILENETS.values():
        files = {path.name: path.read_bytes() for path in (real / "weights/vision" / name).iterdir()}
        hub.push(f"timm/{name}", {**files, "pytorch_model.bin": b"the same again", "onnx/model.onnx": b"and again"})
    hub.push("me/stories260K", real / "weights/language/stories260K")
    for name, width in TINY.items():
        tiny_language_model(real, folder / name, width)
        hub.push(f"me/{name}", folder / name)
    hub.push("me/captioned", captioned(real), "dataset")
    for task, classes in TASKS.items():
        hub.push(f"me/{task}", classified(real, classes), "dataset")
    lines = [json.loads(line)["text"][0] for line in (real / "flickr1k/metadata.jsonl").read_text().splitlines()[:40]]
    hub.push(
        "me/text", {"train.jsonl": "".join(json.dumps({"text": line}) + "\n" for line in lines).encode()}, "dataset"
    )


def settings() -> dict:
    probe = {"source": "hub", "captions": None, "labels": ["label"], "use": "probe", "samples": None}
    vision = {"modality": "vision", "source": "hub", "family": "MobileNet"}
    language = {"modality": "language", "source": "hub", "family": "Llama"}
    return {
        "datasets": [
            {"name": "captioned", "source": "hub", "id": "me/captioned", "samples": SAMPLES},
            *({"name": task, "id": f"me/{task}", **probe} for task in TASKS),
        ],
        "models": [
            *({"name": name, "id": f"timm/{repository}", **vision} for name, repository in MOBILENETS.items()),
            {"name": "stories", "id": "me/stories260K", **language},
            *({"name": name, "id": f"me/{name}", **language} for name in TINY),
        ],
        "probes": [{"name": task, "train": task, "label": "label"} for task in TASKS],
        "texts": [{"name": "captions", "source": "hub", "id": "me/text", "window": 64}],
        "alignment": {"k": [5], "k_max": 47, "permutations": 20, "subsamples": 5, "splits": 2},
        "compute": {"threads": 1},
    }


@pytest.fixture(scope="module")
def fetched(repository, real, tmp_path_factory):
    """The experiment after its downloads; the hub is gone."""
    folder, cache = tmp_path_factory.mktemp("paper"), tmp_path_factory.mktemp("cache")
    workflow = lay_out(repository, folder, settings())
    with pytest.MonkeyPatch.context() as patch, Hub() as hub:
        fill(hub, real, tmp_path_factory.mktemp("weights"))
        patch.setenv("HF_ENDPOINT", hub.address)
        patch.setenv("HF_HOME", str(cache))
        hub.fail("/cdn/*", cut=1000, times=2)
        hub.fail("/api/models/me/tiny", status=503)
        told = tell(workflow)
        workflow.run("--until", "download_model", "download_dataset", "download_text")
        sent = hub.sent()
        hub.stop()
        yield workflow, told, sent, hub


def tell(workflow) -> str:
    """What prh plan says."""
    (workflow.folder / "tiny.yaml").write_text(yaml.safe_dump(workflow.experiment))
    command = [sys.executable, "-m", "prh", "plan", "--configfile", "tiny.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(workflow.folder / "workflow_scripts")}
    done = subprocess.run(command, cwd=workflow.folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_what_is_told_before_is_what_is_fetched(fetched):
    workflow, told, _, _ = fetched
    folder = workflow.folder / "results/models/v025/files"
    size = sum(path.stat().st_size for path in folder.iterdir() if not path.name.startswith("."))
    assert f"models/v025 timm/mobilenet_v1_0.25_128 {size / 1e6:.3g} MB" in re.sub(" +", " ", told)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    source = json.loads((workflow.folder / "results/datasets/captioned/source.json").read_text())
    assert [name for name in source["files"] if "test" in name] == []


def test_every_source_is_locked(fetched):
    workflow, _, _, hub = fetched
    lock = yaml.safe_load((workflow.folder / "tiny.lock.yaml").read_text())
    assert {kind: set(entries) for kind, entries in lock.items()} == {
        "datasets": {"captioned", *TASKS},
        "models": {*MOBILENETS, "stories", *TINY},
        "texts": {"captions"},
    }
    assert lock["models"]["tiny"]["revision"] == hub.repositories["model", "me/tiny"].refs["main"]


def test_a_missing_file_stops_the_job_in_one_sentence(fetched, tmp_path):
    copy = fetched[0].copy(tmp_path / "copy")
    (copy.folder / "results/models/v025/files/model.safetensors").unlink()
    path = "results/features/captioned/v025.parquet"
    done = copy.snakemake("--cores", "2", path, check=False)
    assert done.returncode != 0
    log = (copy.folder / "results/logs/features/captioned/v025.log").read_text().strip().splitlines()
    assert log[-1].startswith("error: results/models/v025/files/model.safetensors was fetched and is not there; delete")


def test_it_runs_to_its_figures_without_the_hub(fetched):
    workflow, _, sent, hub = fetched
    workflow.run()
    assert hub.sent() == sent
    best = workflow.table("tables/alignment.parquet")
    assert best.height == 15
    assert best["score"].is_finite().all()
    assert best.filter(model_x="v050", model_y="v025")["score"].item() > 0.2
    scores = workflow.table("tables/scores.parquet")
    assert set(scores["task"]) == {*TASKS, "captions"}
    drawn = {path.name for path in (workflow.folder / "results/figures").rglob("*.png")}
    assert {
        "alignment_matrix.png",
        "cross_modal.png",
        "figure2.png",
        "figure3.png",
        "layer_matrix_strongest.png",
    } <= drawn
    with Image.open(next((workflow.folder / "results/figures").rglob("cross_modal.png"))) as picture:
        picture.load()
    assert workflow.would_run() == {}
