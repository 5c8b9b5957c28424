"""Every block of code in the section on banks of docs/own.md runs as it stands."""

import re
import shlex
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prh
from prh.__main__ import main
from prh.io import tables
from tests import small_models

N = 32


def section(repository, title):
    text = (repository / "docs/own.md").read_text(encoding="utf-8")
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.encoder(x).relu())


class Trainer:
    def __init__(self):
        self.callbacks = []

    def add_callback(self, callback):
        self.callbacks.append(callback)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the text speaks of: a bank with captions, and features."""
    rng = np.random.default_rng(0)
    models = {name: [rng.normal(size=(N, 6)).astype(np.float32)] for name in ("vit-small", "gpt2")}
    bank = prh.make_bank(tmp_path / "results/mine", models, dataset="photos")
    captions = [[f"a {small_models.WORDS[2 + i % 12]} {small_models.WORDS[3 + i % 5]}"] for i in range(N)]
    columns = {"sample_id": bank.sample_ids, "captions": captions, "group_id": [None] * N}
    shard = pa.table(columns, pa.schema([tables.SHARD.field(name) for name in columns]))
    tables.write(shard, tmp_path / "results/mine/datasets/photos/shards/00000.parquet", {})
    np.save(tmp_path / "features.npy", models["gpt2"][0])
    np.save(tmp_path / "features_last.npy", rng.normal(size=(N, 9)).astype(np.float32))
    pairs = {"dataset": ["photos"], "metric": ["mutual_knn"], "k": [10], "n": [N], "model_x": ["gpt2"],
             "model_y": ["vit-small"], "layer_x": [0], "layer_y": [0]}  # fmt: skip
    pairs |= {name: [0.5] for name in ("score", "threshold", "calibrated", "low", "high", "p", "q")}
    tables.write(pa.table(pairs), tmp_path / "results/mine/tables/alignment.parquet", {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_library_examples_run(repository, folder):
    import transformers

    model = small_models.model_folder(folder / "m", "llama", "AutoModelForCausalLM")
    names = {
        "module": Module(),
        "loader": DataLoader(TensorDataset(torch.randn(N, 5)), batch_size=8),
        "language_model": transformers.AutoModelForCausalLM.from_pretrained(model),
        "tokenizer": small_models.tokenizer(),
        "trainer": Trainer(),
    }
    first, by_id, *rest = blocks(section(repository, "Score against a bank"), "python")
    exec(first, names)
    table = names["table"]
    assert table["model"][0] == "gpt2"
    assert table["score"][0] == 1
    exec(by_id, names)
    assert names["table"].equals(table), "the same rows in another order"
    assert len(rest) == 4
    for block in rest:
        exec(block, names)
    assert isinstance(names["trainer"].callbacks[0], prh.ScoreCallback)
    assert {"alignment/vit-small", "alignment_calibrated/vit-small"} <= names["logs"].keys()


def test_the_commands_run(repository, folder, monkeypatch, capsys):
    (commands,) = blocks(section(repository, "Score against a bank"), "bash")
    for command, wanted in zip(commands.splitlines(), ("features on photos", "1 pair of vit-small"), strict=True):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        main()
        assert wanted in capsys.readouterr().out
