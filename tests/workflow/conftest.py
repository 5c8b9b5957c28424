"""A copy of the workflow in a folder of its own, with an experiment small enough to run many times."""

import copy
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

WORDS = ["red", "green", "blue", "big", "small", "cat", "dog", "house", "tree", "car"]
SAMPLES = 24


class Workflow:
    """The workflow in ``folder``: change its experiment and its code, run it, count the jobs it would run."""

    def __init__(self, folder: Path, experiment: dict) -> None:
        self.folder, self.experiment = folder, experiment
        self.environment = {"PYTHONPATH": str(folder / "workflow_scripts")}

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        """Start snakemake; ``options`` are those of Popen."""
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(self.experiment, sort_keys=False))
        command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env={**os.environ, **self.environment}, **options)

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said = process.communicate(timeout=2400)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        done = subprocess.CompletedProcess(process.args, process.returncode, *said)
        if check and done.returncode:
            raise AssertionError(f"snakemake failed:\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.snakemake("--cores", "2", *arguments)

    def would_run(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a run would start now."""
        done = self.snakemake("--quiet", "rules", "--dry-run", *arguments)
        table = re.search(r"job +count\n-[- ]+\n(.*?)\ntotal", done.stdout + done.stderr, re.DOTALL)
        assert table or "Nothing to be done" in done.stdout + done.stderr, (
            f"no table of jobs in:\n{done.stdout}\n{done.stderr}"
        )
        rows = [line.split() for line in table.group(1).splitlines()] if table else []
        return {rule: int(count) for rule, count in rows if rule != "all"}

    def table(self, name: str):
        import polars as pl

        return pl.read_parquet(self.folder / "results" / name)

    def log_of(self, rule: str) -> str:
        """The logs of the jobs of a rule, one after the other."""
        logs = self.folder / "results/logs"
        paths = [logs / f"{rule}.log"] if (logs / f"{rule}.log").is_file() else sorted((logs / rule).rglob("*.log"))
        return "\n".join(path.read_text() for path in paths)

    def copy(self, folder: Path) -> "Workflow":
        """The same workflow and results elsewhere, to be changed at will."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workflow(folder, copy.deepcopy(self.experiment))


def write_data(folder: Path) -> None:
    """Pictures of one colour each, with captions that say so."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(SAMPLES):
        stream = io.BytesIO()
        pixels = np.full((24, 24, 3), 40, np.uint8)
        pixels[..., i % 3] = 200
        Image.fromarray(pixels + rng.integers(0, 40, pixels.shape, dtype=np.uint8)).save(stream, "PNG")
        (folder / f"images/{i:02d}.png").write_bytes(stream.getvalue())
        caption = " ".join([WORDS[i % 3], *rng.choice(WORDS[3:], 2 + i % 4)])
        rows.append({"file_name": f"images/{i:02d}.png", "text": [caption]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_word_vectors(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    vectors = torch.randn(len(WORDS), 6, generator=torch.Generator().manual_seed(seed))
    save_file({"vectors": vectors}, folder / "vectors.safetensors")
    (folder / "vocab.txt").write_text("\n".join(WORDS))


def vision(name: str, identity: str = "test_vit", **more) -> dict:
    return {"name": name, "modality": "vision", "source": "random", "id": identity, **more}


def words(name: str, path: str) -> dict:
    return {"name": name, "modality": "language", "library": "word_vectors", "source": "local", "path": path}


def experiment() -> dict:
    return {
        "datasets": [{"name": "colours", "source": "local", "path": "data", "shard_size": 10}],
        "models": [vision("vit"), vision("resnet", "test_resnet"), words("words", "words0"), words("other", "words1")],
        "alignment": {"k": [3], "k_max": 80, "permutations": 20, "subsamples": 5, "splits": 2},
    }


def small_world(repository: Path) -> dict:
    """The default experiment in a world of 64 events, without probes: five models, trained for a moment, and reality."""
    settings = yaml.safe_load((repository / "config.yaml").read_text())
    kept = {"reality", "random-vit", "contrastive-convnext-60", "gpt2-w8-30", "gpt2-w16-60", "llama-w48-300"}
    settings["models"] = [entry for entry in settings["models"] if entry["name"] in kept]
    for entry in settings["models"]:
        if "training" in entry:
            entry["training"]["steps"] = 5
    settings["world"] = {"events": 64}
    settings["datasets"] = [entry for entry in settings["datasets"] if entry["name"] == "world"]
    settings["harness"] = [entry | {"limit": 20} for entry in settings["harness"]]
    settings["alignment"] |= {"k": [5], "k_max": 63, "permutations": 0, "subsamples": 5, "splits": 2}
    del settings["probes"]
    return settings


def small_real_mini(repository: Path, folder: Path) -> dict:
    """The real experiment on 64 samples, for a copy of the workflow in ``folder``, beside which the data are laid."""
    settings = yaml.safe_load((repository / "experiments/real-mini.yaml").read_text())
    for entry in settings["datasets"]:
        entry["samples"] = 64
    settings["alignment"] = {
        "metrics": ["mutual_knn"],
        "k": [5],
        "permutations": 50,
        "subsamples": 10,
        "splits": 2,
        "k_max": 63,
    }
    settings["texts"][0]["documents"] = 50
    settings["harness"][0]["limit"] = 20
    settings["compute"] = {"threads": 1}
    settings["results"] = "results"
    shutil.copytree(repository / "experiments", folder / "experiments")
    (folder.parent / "shared").symlink_to(repository.parent / "shared")
    return settings


def lay_out(repository: Path, folder: Path, settings: dict) -> Workflow:
    for name in ("rules", "workflow_scripts", "forkserver", "profiles", "envs"):
        shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(repository / "resources", folder / "resources")
    shutil.copy(repository / "Snakefile", folder)
    return Workflow(folder, settings)


@pytest.fixture(scope="session")
def finished(repository, tmp_path_factory) -> Workflow:
    """The small experiment, run to its end once; tests that change something take a copy."""
    folder = tmp_path_factory.mktemp("finished")
    write_data(folder / "data")
    write_word_vectors(folder / "words0", 0)
    write_word_vectors(folder / "words1", 1)
    workflow = lay_out(repository, folder, experiment())
    workflow.run()
    return workflow


@pytest.fixture
def workflow(finished, tmp_path) -> Workflow:
    return finished.copy(tmp_path / "copy")
