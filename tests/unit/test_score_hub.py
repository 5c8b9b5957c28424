"""A bank on the hub: only what a comparison reads is fetched, once, and kept under its commit."""

import numpy as np
import polars as pl
import pytest
from huggingface_hub import constants

import prh
from prh.bank.places import BankError
from prh.downloads import failures
from prh.downloads.failures import FetchError
from tests.hub import Hub

MINE = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
MODELS = {name: [np.random.default_rng(i).normal(size=(40, 8)).astype(np.float32)] for i, name in enumerate("ab")}


@pytest.fixture
def folder(tmp_path):
    prh.make_bank(tmp_path / "results", MODELS, dataset="d", features=True, modalities={"a": "vision"})
    (tmp_path / "results/README.md").write_text("a bank")
    return tmp_path / "results"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(failures, "WAIT", 0.0)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def test_a_bank_of_the_hub_scores_as_its_folder(hub, folder, tmp_path):
    commit = hub.push("me/bank", folder, "dataset")
    table = prh.score(MINE, "hub:me/bank", permutations=20)
    assert table.equals(prh.score(MINE, folder, permutations=20))
    kept = {path.relative_to(tmp_path / "cache").as_posix() for path in (tmp_path / "cache").rglob("*.*")}
    assert f"prh/banks/me--bank/{commit}/neighbours/d/a.parquet" in kept
    assert not any("README" in path or "features" in path for path in kept), "only what is read"
    before = hub.sent("*.parquet")
    prh.score(MINE, f"hub:me/bank@{commit}", permutations=20)
    assert hub.sent("*.parquet") == before, "nothing is fetched twice"
    assert prh.score(MINE, "hub:me/bank", metric="cka", permutations=20).equals(
        prh.score(MINE, folder, metric="cka", permutations=20)
    )


def test_a_revision_is_the_bank_of_that_commit(hub, folder, tmp_path):
    first = hub.push("me/bank", folder, "dataset")
    prh.make_bank(folder, {"new": MODELS["a"]}, dataset="d")
    hub.push("me/bank", folder, "dataset")
    assert prh.Bank("hub:me/bank").models == ["new"]
    assert prh.Bank(f"hub:me/bank@{first}").models == ["a", "b"]


def test_a_bank_without_a_table_of_models(hub, folder):
    (folder / "tables/models.parquet").unlink()
    hub.push("me/bank", folder, "dataset")
    table = prh.score(MINE, "hub:me/bank", permutations=0)
    assert sorted(table["model"]) == ["a", "b"]
    assert table["modality"].dtype == pl.String


def test_banks_that_cannot_be_fetched(hub, folder, tmp_path):
    with pytest.raises(FetchError, match="the hub has no data set me/absent"):
        prh.Bank("hub:me/absent")
    hub.push("me/bank", folder, "dataset")
    with pytest.raises(FetchError, match="has no revision nowhere"):
        prh.Bank("hub:me/bank@nowhere")
    hub.push("me/other", {"README.md": b"no bank"}, "dataset")
    with pytest.raises(BankError, match="hub:me/other is no bank: it has no folder neighbours/"):
        prh.Bank("hub:me/other")
    hub.fail("*/a.parquet", status=500, times=99)
    with pytest.raises(FetchError, match="me/bank cannot be fetched"):
        prh.Bank("hub:me/bank")
