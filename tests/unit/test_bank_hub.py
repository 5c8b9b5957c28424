"""Banks are pushed to the hub and pulled from it: the same numbers elsewhere, nothing private, mistakes in one sentence."""

import io
import json
import re
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import constants

import prh
from prh import __main__ as command
from prh.bank.packing import without_paths
from prh.downloads import failures
from prh.io import tables
from tests.hub import Hub

IDS = [f"sample-{number}" for number in range(40)]
MINE = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
MODELS = {name: [np.random.default_rng(i).normal(size=(40, 8)).astype(np.float32)] for i, name in enumerate("ab")}
HOME = "/home/somebody/secret-project"


@pytest.fixture
def folder(tmp_path):
    """A bank whose tables name paths of this machine, whose samples come in pairs, with things that are not shared."""
    folder = tmp_path / "results"
    bank = prh.make_bank(
        folder, MODELS, dataset="d", sample_ids=IDS, features=True, modalities={"a": "vision"}, k_max=12
    )
    for model in bank.models:
        path = folder / f"features/d/{model}.parquet"
        settings = {"model": {"source": "local", "path": f"{HOME}/models/{model}", "name": model}}
        tables.write(tables.read(path), path, {**tables.made_by(path), "settings": settings, "revision": "1" * 40})
    rows = {
        "sample_id": pa.array(IDS, pa.string()),
        "image": pa.array([{"bytes": b"pixels", "path": f"{HOME}/x.png"}] * 40, tables.SHARD.field("image").type),
        "captions": pa.array([[f"caption {number}"] for number in range(40)], pa.list_(pa.string())),
        "labels": pa.array([[]] * 40, tables.SHARD.field("labels").type),
        "group_id": pa.array([str(number // 2) for number in range(40)], pa.string()),
    }
    tables.write(pa.table(rows), folder / "datasets/d/shards/00000.parquet", tables.provenance(dataset="d"))
    (folder / "datasets/d/manifest.json").write_text(json.dumps({"dataset": "d", "from": f"{HOME}/photos"}))
    scores = pa.table({"model": ["a"], "id": [f"{HOME}/models/a"], "score": [0.5]})
    tables.write(scores, folder / "tables/scores.parquet", tables.provenance(settings={"ids": {"a": f"{HOME}/a"}}))
    (folder / "models").mkdir()
    (folder / "models/a.lock.yaml").write_text(yaml.safe_dump({"models": {"a": {"id": "gpt2", "revision": "2" * 40}}}))
    (folder / "logs").mkdir()
    (folder / "logs/a.log").write_text(HOME)
    (folder / "figures/d/mutual_knn_k10").mkdir(parents=True)
    (folder / "figures/d/mutual_knn_k10/alignment_matrix.png").write_bytes(b"png")
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(failures, "WAIT", 0.0)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments, answer=None):
        """(exit status or message, standard output) of a command of prh."""
        stdin = io.StringIO(answer or "")
        stdin.isatty = lambda: answer is not None
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "argv", ["prh", *map(str, arguments)])
        try:
            command.main()
            status = 0
        except SystemExit as error:
            status = error.code
        return status, capsys.readouterr().out

    return run


def content(hub, name="me/bank"):
    repository = hub.repositories["dataset", name]
    return repository.commits[repository.refs["main"]]


def test_a_bank_gives_the_same_numbers_elsewhere(hub, run, folder, tmp_path):
    status, shown = run("bank", "push", folder, "me/bank", "--features", "--yes")
    assert status == 0, status
    assert "a new private data set repository" in shown
    assert hub.repositories["dataset", "me/bank"].private
    status, shown = run("bank", "pull", "me/bank", tmp_path / "there", "--features")
    assert status == 0, status
    for metric in ("mutual_knn", "cka"):
        ours = prh.score(MINE, folder, metric=metric, permutations=20)
        assert prh.score(MINE, tmp_path / "there", metric=metric, permutations=20).equals(ours)
        assert prh.score(MINE, "hub:me/bank", metric=metric, permutations=20).equals(ours)
    groups = prh.Bank(tmp_path / "there").groups
    assert groups.tolist() == [number // 2 for number in range(40)], "groups, without images or captions"


def test_nothing_private_is_pushed(hub, run, folder):
    assert run("bank", "push", folder, "me/bank", "--features", "--yes")[0] == 0
    files = content(hub)
    assert not any(path.startswith(("logs/", "models/", "datasets/d/shards")) for path in files)
    for path, data in files.items():
        if path.endswith(".parquet"):
            source = pq.ParquetFile(io.BytesIO(data))
            assert HOME not in str(source.schema_arrow.metadata), path
            assert HOME not in str(source.read().to_pylist()), path
        else:
            assert HOME.encode() not in data, path
    assert pl.read_parquet(files["tables/scores.parquet"])["id"].to_list() == [".../a"]
    assert yaml.safe_load(files["bank.lock.yaml"]) == {"models": {"a": {"id": "gpt2", "revision": "2" * 40}}}


def test_the_data_card_says_what_the_bank_is(hub, run, folder):
    assert run("bank", "push", folder, "me/bank", "--yes")[0] == 0
    files = content(hub)
    card = files["README.md"].decode()
    _, header, text = card.split("---\n", 2)
    configs = yaml.safe_load(header)["configs"]
    assert all(config["data_files"] in files for config in configs)
    for part in (
        'prh.Bank("hub:me/bank")',
        tables.digest_of_samples(IDS),
        "clamp: 0.95",
        "(k_max): 12",
        "1" * 40,
        "![alignment matrix](figures/d/mutual_knn_k10/alignment_matrix.png)",
    ):
        assert part in text, part
    assert not any(path.startswith("features/") for path in files), "features only if they are asked for"


def test_captions_and_images_are_pushed_only_if_asked(hub, run, folder):
    assert run("bank", "push", folder, "me/bank", "--captions", "--yes")[0] == 0
    assert prh.Bank("hub:me/bank").captions()[3] == "caption 3"
    assert b"pixels" not in b"".join(content(hub).values())
    assert run("bank", "push", folder, "me/bank", "--images", "--yes")[0] == 0
    assert "image" in pl.read_parquet(content(hub)["datasets/d/shards/00000.parquet"]).columns


def test_nothing_is_pushed_without_a_yes(hub, run, folder):
    assert run("bank", "push", folder, "me/bank")[0] == "error: nothing was pushed: pass --yes to push this."
    assert run("bank", "push", folder, "me/bank", answer="no\n")[1].endswith("Nothing was pushed.\n")
    assert not hub.repositories
    assert run("bank", "push", folder, "me/bank", answer="yes\n")[0] == 0


def test_an_interrupted_push_goes_on(hub, run, folder):
    hub.fail("/api/datasets/me/bank/commit/main", status=403)
    assert "your token may not write there" in run("bank", "push", folder, "me/bank", "--yes")[0]
    assert list(content(hub)) == [".gitattributes"], "all or nothing"
    uploads = len([one for one in hub.requests if one.path.startswith("/upload/")])
    assert uploads
    assert run("bank", "push", folder, "me/bank", "--yes")[0] == 0
    assert len([one for one in hub.requests if one.path.startswith("/upload/")]) == uploads


def test_a_second_push_removes_what_is_gone(hub, run, folder):
    assert run("bank", "push", folder, "me/bank", "--features", "--yes")[0] == 0
    status, shown = run("bank", "push", folder, "me/bank", "--yes")
    assert status == 0
    assert "deleted there: 2 files" in shown
    assert not any(path.startswith("features/") for path in content(hub))


def test_an_interrupted_pull_goes_on(hub, run, folder, tmp_path):
    run("bank", "push", folder, "me/bank", "--yes")
    hub.fail("/cdn/*", cut=0, times=99)
    assert "me/bank cannot be fetched" in run("bank", "pull", "me/bank", tmp_path / "there")[0]
    hub._faults.clear()
    assert run("bank", "pull", "me/bank", tmp_path / "there")[0] == 0
    before = hub.sent("/cdn/*")
    assert run("bank", "pull", "me/bank", tmp_path / "there")[0] == 0
    assert hub.sent("/cdn/*") == before, "nothing is fetched twice"


def test_a_pulled_bank_is_there_without_the_hub(hub, run, folder):
    run("bank", "push", folder, "me/bank", "--yes")
    status, shown = run("bank", "pull", "me/bank")
    assert status == 0
    assert "--bank hub:me/bank@" in shown
    hub.stop()
    table = prh.score(MINE, "hub:me/bank", permutations=20)
    assert table.equals(prh.score(MINE, folder, permutations=20))
    with pytest.raises(failures.FetchError):
        prh.Bank("hub:me/other")


def test_a_pulled_bank_can_be_pushed_again(hub, run, folder, tmp_path):
    run("bank", "push", folder, "me/bank", "--yes")
    run("bank", "pull", "me/bank", tmp_path / "there")
    assert run("bank", "push", tmp_path / "there", "me/again", "--yes")[0] == 0
    again, first = content(hub, "me/again"), content(hub)
    assert again.keys() == first.keys()
    assert [path for path in first if again[path] != first[path]] == ["README.md"], "which names its repository"


def test_what_cannot_be_pushed(hub, run, folder, tmp_path, monkeypatch):
    def refused(*arguments):
        status, _ = run("bank", "push", *arguments, "--yes")
        assert str(status).startswith("error: "), status
        return status

    assert "there is no folder" in refused(tmp_path / "absent", "me/bank")
    (tmp_path / "empty").mkdir()
    assert "is no bank: it has no folder neighbours/" in refused(tmp_path / "empty", "me/bank")
    assert "write owner/name" in refused(folder, "bank")
    assert "has no data set 'x'" in refused(folder, "me/bank", "--dataset", "x")
    hub.push("me/other", {"data.csv": b"1"}, "dataset")
    assert "me/other is no bank and holds 1 files, such as data.csv" in refused(folder, "me/other")
    hub.push("me/public", {}, "dataset")
    assert "me/public is public; pass --public" in refused(folder, "me/public")
    hub.readers.add("hf_reader")
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert "your token may not write there (403)" in refused(folder, "me/bank")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the token is not valid" in refused(folder, "me/bank")
    monkeypatch.delenv("HF_TOKEN")
    assert "no token is set" in refused(folder, "me/bank")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    (folder / "alignment").mkdir()
    assert "is not finished: it has no tables/alignment.parquet" in refused(folder, "me/bank")
    (folder / "alignment").rmdir()
    (folder / "tables/models.parquet").unlink()
    assert "is not finished: it has no tables/models.parquet" in refused(folder, "me/bank")


def test_damaged_tables_are_neither_pushed_nor_pulled(hub, run, folder, tmp_path):
    run("bank", "push", folder, "me/bank", "--yes")
    path = folder / "neighbours/d/a.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[300] ^= 255
    path.write_bytes(damaged)
    assert f"{path} is not a complete Parquet file" in run("bank", "push", folder, "me/bank", "--yes")[0]
    hub.push("me/damaged", {**content(hub), "neighbours/d/a.parquet": bytes(damaged)}, "dataset")
    assert "is not a complete Parquet file" in run("bank", "pull", "me/damaged", tmp_path / "damaged")[0]
    hub.fail("/cdn/*", garble=True, times=99)
    assert "which is wrong" in (status := run("bank", "pull", "me/bank", tmp_path / "there")[0]) or "hash" in status


def test_what_cannot_be_pulled(hub, run, folder, tmp_path):
    run("bank", "push", folder, "me/bank", "--yes")
    hub.push("me/other", {"README.md": b"no bank"}, "dataset")
    assert "me/other is no bank" in run("bank", "pull", "me/other")[0]
    assert "the hub has no data set me/absent" in run("bank", "pull", "me/absent")[0]
    assert "has no revision nowhere" in run("bank", "pull", "me/bank@nowhere")[0]
    assert "is no address of a bank" in run("bank", "pull", "bank")[0]
    assert "is not empty and no bank was pulled into it" in run("bank", "pull", "me/bank", folder)[0]


def test_a_bank_refuses_other_samples(hub, run, folder, tmp_path):
    run("bank", "push", folder, "me/bank", "--yes")
    others = tables.layers_table([f"other-{number}" for number in range(40)], [MINE])
    tables.write(others, tmp_path / "mine.parquet", tables.provenance())
    status, _ = run("score", tmp_path / "mine.parquet", "--bank", "hub:me/bank")
    assert "mine has no row for 40 of the bank's 40 samples, such as 'sample-0'" in status
    swapped = tables.layers_table(IDS[::-1], MODELS["a"])
    path = folder / "neighbours/d/a.parquet"
    footer = tables.made_by(path)
    tables.write(tables.read(path).set_column(0, "sample_id", swapped["sample_id"]), path, footer)
    assert "lists other samples than its footer says" in run("bank", "push", folder, "me/bank", "--yes")[0]


def test_the_commands_of_the_documentation_run(hub, run, folder, tmp_path, monkeypatch, repository):
    text = (repository / "docs/own.md").read_text(encoding="utf-8").split("## Share a bank\n")[1].split("\n## ")[0]
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 4
    folder.rename(tmp_path / "mine")
    (tmp_path / "results").mkdir()
    (tmp_path / "mine").rename(tmp_path / "results/mine")
    np.save(tmp_path / "features.npy", MINE)
    monkeypatch.chdir(tmp_path)
    for line in lines:
        status, _ = run(*line.split()[1:], answer="yes\n")
        assert status == 0, (line, status)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/me/model", ".../model"),
        ("/home/me/my models/", ".../my models"),
        ("~/model", ".../model"),
        (r"C:\Users\me\model", ".../model"),
        ("file:///home/me/model", ".../model"),
        ("from /home/me/model, twice", "from .../model, twice"),
        ("https://host/a/b/c.zip", "https://host/a/b/c.zip"),
        ("owner/name", "owner/name"),
        (r"stages\.[23]\.blocks", r"stages\.[23]\.blocks"),
        ("../data/photos", "../data/photos"),
        ("<s>text</s>", "<s>text</s>"),
    ],
)
def test_absolute_paths_are_cut(text, clean):
    assert without_paths({"key": [text]}) == {"key": [clean]}
