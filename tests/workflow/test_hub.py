"""experiments/paper.yaml in small, from a hub on loopback to Figures 2, 3 and 4: fetched, locked, computed without the hub.

Its registries, ids, pinned commits and settings are the paper's. Fewer models, tasks and samples are taken; behind the ids
are small photographs and tiny models, two of them with real weights; and what the web has comes from beside the hub.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

import polars as pl
import pytest
import timm
import torch
import transformers
import yaml
from PIL import Image
from timm.models import save_for_hf

from tests.hub import Hub
from tests.workflow.conftest import lay_out

pytestmark = [pytest.mark.slow, pytest.mark.whole]

SAMPLES, TRAIN, TEST = 40, 6, 3  # of captions and of places; of each class
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VITS = {"vit-tiny-in21k": "vit_tiny_patch16_224.augreg_in21k", "vit-small-dinov2": "vit_small_patch14_dinov2.lvd142m"}
CHECKPOINT = "resnet50-dead_leaves-mixed"
LANGUAGE = {"bloomz-560m": "bigscience/bloomz-560m", "open_llama_3b": "openlm-research/open_llama_3b",
            "OLMo-1B": "allenai/OLMo-1B-hf"}  # fmt: skip
TASKS = {"SVHN": ("svhn", 10), "Patch-Camelyon": ("patch_camelyon", 2), "KITTI-distance": ("kitti", 4)}  # classes
VTAB = {"svhn": "svhn", "patch_camelyon": "pcam", "kitti": "kitti_closest_vehicle_distance"}
MOBILENETS = {"v025": "mobilenet_v1_0.25_128", "v050": "mobilenet_v1_0.50_160"}
DOWNLOADS = ("download_model", "download_dataset", "download_text", "download_task")


# ---- what the hub and the web have


def parquet(rows: dict) -> bytes:
    stream = io.BytesIO()
    pl.DataFrame(rows).write_parquet(stream)
    return stream.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def captions(real, count: int) -> list[dict]:
    return [json.loads(line) for line in (real / "flickr1k/metadata.jsonl").read_text().splitlines()[:count]]


def captioned(real) -> dict[str, bytes]:
    """Photographs with captions, in two Parquet files as the hub has them, and a split that nobody asks for."""
    rows = captions(real, SAMPLES)
    images = [{"bytes": (real / "flickr1k" / row["file_name"]).read_bytes(), "path": None} for row in rows]
    table, half = {"image": images, "text": [row["text"] for row in rows]}, SAMPLES // 2
    return {
        "README.md": b"# Photographs with captions\n",
        "data/train-00000-of-00002.parquet": parquet({key: column[:half] for key, column in table.items()}),
        "data/train-00001-of-00002.parquet": parquet({key: column[half:] for key, column in table.items()}),
        "data/test-00000-of-00001.parquet": parquet({key: column[:1] for key, column in table.items()}),
    }


def classified(real, classes: int) -> dict[str, bytes]:
    """Small photographs with the numbers of their classes, an archive for each split, as LAION has the sets of VTAB."""
    archives = {"train/nshards.txt": b"1", "test/nshards.txt": b"1"}
    for split, start, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        files = {}
        for number, name in enumerate(CLASSES[:classes]):
            for path in sorted((real / "cifar10/train" / name).iterdir())[start : start + count]:
                stream = io.BytesIO()
                Image.open(path).save(stream, "WEBP", lossless=True)
                files |= {f"{name}{path.stem}.cls": str(number).encode(), f"{name}{path.stem}.webp": stream.getvalue()}
        archives[f"{split}/0.tar"] = tar_of(files)
    return archives


def places(real) -> bytes:
    """More photographs than are taken, in the folder that the archive of Places has."""
    files = [real / "flickr1k" / row["file_name"] for row in captions(real, SAMPLES + 10)]
    return tar_of({f"val_256/{path.name}": path.read_bytes() for path in files})


def endings(real) -> bytes:
    """Questions of the form of HellaSwag's."""
    texts = [row["text"][0] for row in captions(real, 12)]
    rows = [
        {"ind": i, "activity_label": "Photograph", "ctx_a": text, "ctx_b": "then", "ctx": f"{text} then",
         "endings": [texts[(i + j) % 12] for j in range(4)], "label": str(i % 4)}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    return parquet({key: [row[key] for row in rows] for key in rows[0]})


def sums() -> bytes:
    """Questions of the form of GSM8K's."""
    return parquet(
        {"question": [f"What is {i} + 1?" for i in range(12)], "answer": [f"#### {i + 1}" for i in range(12)]}
    )


def language_models(real, folder) -> None:
    """Three folders: a Llama with real weights, and a BLOOM and an OLMo, never trained, with its tokenizer."""
    torch.manual_seed(0)
    small = {"vocab_size": 512, "hidden_size": 32}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    made = {
        "bloomz-560m": transformers.BloomForCausalLM(transformers.BloomConfig(**small, n_layer=2, n_head=4)),
        "OLMo-1B": transformers.OlmoForCausalLM(transformers.OlmoConfig(**small, **layers)),
    }
    trained = real / "weights/language/stories260K"
    shutil.copytree(trained, folder / "open_llama_3b")
    for name, model in made.items():
        shutil.copytree(trained, folder / name, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
        shutil.copy(trained / "tokenizer_config.json", folder / name)
        model.save_pretrained(folder / name)


def moco() -> bytes:
    """A checkpoint as MoCo leaves it: an encoder with its head, and what else there is, below their names."""
    torch.manual_seed(0)
    weights = timm.create_model("resnet50", num_classes=0).state_dict()
    state = {f"module.encoder_q.{name}": value for name, value in weights.items()}
    state |= {"module.encoder_q.fc.0.weight": torch.zeros(2, 2), "module.queue": torch.zeros(2, 2)}
    stream = io.BytesIO()
    torch.save({"epoch": 200, "state_dict": state}, stream)
    return stream.getvalue()


def fill(hub: Hub, real, folder, pinned: dict[str, str]) -> None:
    """Everything that `shrunk` asks for; ``pinned`` are the commits that entries name."""
    for name in MOBILENETS.values():
        files = {path.name: path.read_bytes() for path in (real / "weights/vision" / name).iterdir()}
        hub.push(f"timm/{name}", {**files, "pytorch_model.bin": b"the same again", "onnx/model.onnx": b"and again"})
    torch.manual_seed(0)
    for name in VITS.values():
        save_for_hf(timm.create_model(name), str(folder / name), safe_serialization=True)
        hub.push(f"timm/{name}", folder / name)
    language_models(real, folder)
    for name, repository in LANGUAGE.items():
        hub.push(repository, folder / name)

    def data(repository: str, content: dict[str, bytes], **more: str) -> None:
        hub.push(repository, content, "dataset", commit=pinned.get(repository), **more)

    data("minhuh/prh", captioned(real), branch="wit_1024")
    for name, classes in TASKS.values():
        data(f"clip-benchmark/wds_vtab-{VTAB[name]}", classified(real, classes))
    texts = [" ".join(row["text"]) for row in captions(real, 40)]
    data("Skylion007/openwebtext", {"plain_text/train-00000-of-00080.parquet": parquet({"text": texts})})
    questions = endings(real)
    data("Rowan/hellaswag", {f"data/{split}-00000-of-00001.parquet": questions for split in ("train", "validation")})
    card = "configs:\n- config_name: main\n  data_files:\n  - {split: train, path: main/train*}\n  - {split: test, path: main/test*}"
    splits = {f"main/{split}-00000-of-00001.parquet": sums() for split in ("train", "test")}
    data("openai/gsm8k", {"README.md": f"---\n{card}\n---\n".encode(), **splits})


# ---- the experiment


def shrunk(repository, hub: Hub, real) -> dict:
    """The experiment of the paper with less of everything."""
    paper = yaml.safe_load((repository / "experiments/paper.yaml").read_text())
    wit, places365, vtab = paper["datasets"]
    vision, language = paper["models"]
    wit["set"] = {"samples": SAMPLES, "models": [name for name in wit["set"]["models"] if name in {*VITS, *LANGUAGE}]}
    places365["set"] = {"samples": SAMPLES, "url": hub.serve("val_256.tar", places(real))}
    vtab |= {"only": [f"{name}_{split}" for name, _ in TASKS.values() for split in ("train", "test")],
             "set": {"samples": None, "models": ["vit-tiny-in21k", "resnet50-random", CHECKPOINT]}}  # fmt: skip
    checkpoint = {"only": [CHECKPOINT], "set": {"url": hub.serve("checkpoint_0199.pth.tar", moco())}}
    real_ones = {"modality": "vision", "source": "hub", "family": "MobileNet"}
    return paper | {
        "results": "results",
        "models": [
            vision | {"only": ["vit-tiny-in21k", "resnet50-random"]},
            # at its 518 pixels, this one would be too much for one core
            vision | {"only": ["vit-small-dinov2"], "set": {"model_args": {"img_size": 98}}},
            vision | checkpoint,
            language | {"only": list(LANGUAGE)},
            *({"name": name, "id": f"timm/{weights}", **real_ones} for name, weights in MOBILENETS.items()),
        ],
        "probes": [entry | {"only": list(TASKS)} for entry in paper["probes"]],
        "texts": [entry | {"set": {"bytes": 4000, "window": 64, "stride": 32}} for entry in paper["texts"]],
        "harness": [entry | {"set": {"limit": 4, "shots": 1}} for entry in paper["harness"]],
        "alignment": paper["alignment"] | {"k_max": SAMPLES - 1, "permutations": 20, "subsamples": 5, "splits": 2},
        "compute": {"threads": 1},
    }


def pinned_in(repository) -> dict[str, str]:
    """The commits that the registries of data sets and texts name, by repository."""
    found = {}
    for path in (repository / "resources/datasets").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        for entry in [*content.get("datasets", []), *content.get("texts", [])]:
            if re.fullmatch("[0-9a-f]{40}", str(entry.get("revision"))):
                found[entry["id"]] = entry["revision"]
    return found


@pytest.fixture(scope="module")
def fetched(repository, real, tmp_path_factory):
    """The experiment after its downloads. The hub stays up, to hear who still asks it."""
    folder, cache = tmp_path_factory.mktemp("paper"), tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch, Hub() as hub:
        fill(hub, real, tmp_path_factory.mktemp("weights"), pinned_in(repository))
        workflow = lay_out(repository, folder, shrunk(repository, hub, real))
        patch.setenv("HF_ENDPOINT", hub.address)
        patch.setenv("HF_HOME", str(cache))
        told = tell(workflow)
        hub.fail("/cdn/*", cut=1000, times=2)
        hub.fail("/web/checkpoint*", cut=1000)
        hub.fail("/api/models/openlm-research/*", status=503)
        before = len(hub.requests)
        workflow.run("--until", *DOWNLOADS)
        yield workflow, told, hub, hub.requests[before:]


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
    source = json.loads((workflow.folder / "results/datasets/wit/source.json").read_text())
    assert [name for name in source["files"] if "test" in name] == []


def test_downloads_went_on_after_faults(fetched):
    *_, requests = fetched
    assert [request.path for request in requests if request.status == 503] == [
        "/api/models/openlm-research/open_llama_3b"
    ]
    continued = [request for request in requests if request.status == 206]
    assert sorted(request.path.split("/")[1] for request in continued) == ["cdn", "cdn", "web"]
    assert {request.range for request in continued} == {"bytes=1000-"}


def test_every_source_is_locked(fetched):
    workflow, _, hub, _ = fetched
    lock = yaml.safe_load((workflow.folder / "tiny.lock.yaml").read_text())
    assert {kind: set(entries) for kind, entries in lock.items()} == {
        # the commits of patch_camelyon and openwebtext stand in the registries
        "datasets": {
            "wit",
            "places365",
            *(f"{name}_{split}" for name in ("svhn", "kitti") for split in ("train", "test")),
        },
        "harness": {"hellaswag", "gsm8k"},
        "models": {*VITS, CHECKPOINT, *LANGUAGE, *MOBILENETS},
    }
    commit = hub.repositories["model", LANGUAGE["OLMo-1B"]].refs["main"]
    assert lock["models"]["OLMo-1B"]["revision"] == commit
    source = json.loads((workflow.folder / "results/datasets/patch_camelyon_test/source.json").read_text())
    assert source["revision"].startswith("502695fe")


def test_a_missing_file_stops_the_job_in_one_sentence(fetched, tmp_path):
    copy = fetched[0].copy(tmp_path / "copy")
    (copy.folder / "results/models/v025/files/model.safetensors").unlink()
    path = "results/features/places365/v025.parquet"
    done = copy.snakemake("--cores", "2", path, check=False)
    assert done.returncode != 0
    log = (copy.folder / "results/logs/features/places365/v025.log").read_text().strip().splitlines()
    assert log[-1].startswith(
        "error: results/models/v025/files/model.safetensors was downloaded but is missing; delete"
    )


def test_it_runs_to_its_figures_without_the_hub(fetched):
    workflow, _, hub, _ = fetched
    asked, lock = len(hub.requests), workflow.folder / "tiny.lock.yaml"
    locked = lock.read_text()
    lock.unlink()  # as of another experiment that finds all of it here
    workflow.run()
    assert hub.requests[asked:] == []
    assert lock.read_text() == locked
    best = workflow.table("tables/alignment.parquet")
    assert best.group_by("dataset").len().sort("dataset").rows() == [("places365", 15), ("wit", 10)]
    assert best["score"].is_finite().all()
    assert best.filter(model_x="v050", model_y="v025")["score"].item() > 0.3
    scores = workflow.table("tables/scores.parquet")
    assert set(scores["task"]) == {*TASKS, "openwebtext", "hellaswag", "gsm8k"}
    bits = dict(scores.filter(task="openwebtext")["model", "value"].rows())
    assert min(bits, key=bits.get) == "open_llama_3b", "the one that was trained"
    drawn = {path.relative_to(workflow.folder / "results/figures").as_posix()
             for path in (workflow.folder / "results/figures").rglob("*.png")}  # fmt: skip
    assert {
        "places365/mutual_knn_k10/figure2.png",
        *(f"wit/mutual_knn_k10/{name}.png" for name in ("figure3", "figure4", "figure4_calibrated", "cross_modal")),
    } <= drawn
    with Image.open(workflow.folder / "results/figures/wit/mutual_knn_k10/figure4.png") as picture:
        picture.load()
    assert workflow.would_run() == {}
