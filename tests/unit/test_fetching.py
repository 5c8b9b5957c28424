"""Fetching from a hub on loopback: whole files or one sentence."""

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import datasets as datasets_library
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import RepoFile
from PIL import Image

from prh.datasets import hub_data
from prh.datasets.errors import DataError
from prh.datasets.hub_reading import read_hub
from prh.datasets.local_data import read_local
from prh.datasets.samples import SampleColumns
from prh.downloads import failures, transfer, web
from prh.downloads.failures import FetchError
from prh.downloads.hub import find
from prh.downloads.lockfile import Lock, adopt, read
from prh.downloads.web import fetch_url
from prh.experiment.schema import HubDataset
from prh.io import files, tables
from prh.models import repositories
from tests.hub import Hub
from tests.waiting import wait_for

BIG = bytes(range(256)) * 1200  # 300 kB


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(failures, "WAIT", 0.0)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


@pytest.fixture
def commit(hub):
    return hub.push("me/model", {"config.json": b"{}", "model.safetensors": BIG, "README.md": b"hello"})


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_some_files(hub, commit, tmp_path):
    snapshot = find("me/model")
    assert snapshot.commit == commit
    assert snapshot.bytes_of(["model.safetensors"]) == len(BIG)
    snapshot.fetch(["config.json", "model.safetensors"], tmp_path)
    assert content(tmp_path) == {"config.json": b"{}", "model.safetensors": BIG}
    sent = hub.sent()
    snapshot.fetch(["config.json", "model.safetensors"], tmp_path)
    assert hub.sent() == sent


def test_a_cut_connection_goes_on_where_it_broke(hub, commit, tmp_path):
    hub.fail("/cdn/*", cut=100_000, times=2)
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}
    assert hub.sent("/cdn/*") == len(BIG)


def test_a_killed_download_goes_on_in_the_next_process(hub, commit, tmp_path):
    """What huggingface_hub does not do: its piece of a file has a name that no other process knows."""
    hub.fail("/cdn/*", pause=0.05)
    program = (
        "import sys; from pathlib import Path; from prh.downloads.hub import find\n"
        "find('me/model').fetch(['model.safetensors'], Path(sys.argv[1]))"
    )
    environment = {"HF_ENDPOINT": hub.address, "PYTHONPATH": ":".join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path], env=environment)
    wait_for(lambda: sum(map(len, content(tmp_path).values())) > 50_000, seconds=30)
    process.kill()
    process.wait()
    (piece,) = tmp_path.iterdir()
    assert piece.name.startswith(".")
    have = piece.stat().st_size
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}
    (last,) = [request for request in hub.requests if request.range and request.path.startswith("/cdn/")]
    assert (last.range, last.sent) == (f"bytes={have}-", len(BIG) - have)


def test_a_server_without_ranges_sends_all_of_it_again(hub, commit, tmp_path):
    hub.ranges = False
    hub.fail("/cdn/*", cut=100_000)
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}
    assert hub.sent("/cdn/*") == len(BIG) + 100_000


def test_wrong_bytes_are_thrown_away(hub, commit, tmp_path):
    hub.fail("/cdn/*", garble=True)
    with pytest.raises(
        FetchError, match=r"model\.safetensors from .* has 307,200 bytes and hash .* instead of 307,200"
    ):
        find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {}
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}


def test_wrong_bytes_of_a_small_file(hub, commit, tmp_path):
    hub.fail("*/config.json", garble=True, times=9)
    with pytest.raises(FetchError, match=r"config\.json"):
        find("me/model").fetch(["config.json"], tmp_path)
    assert content(tmp_path) == {}


def test_a_wrong_piece_of_an_earlier_run_costs_one_more_download(hub, commit, tmp_path):
    hub.fail("/cdn/*", cut=100_000, garble=True)
    hub.fail("/cdn/*", status=404)
    with pytest.raises(FetchError):
        find("me/model").fetch(["model.safetensors"], tmp_path)
    assert sum(map(len, content(tmp_path).values())) == 100_000
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}


def test_a_damaged_file_is_fetched_again(hub, commit, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x" + BIG[1:])
    (tmp_path / "old.safetensors").write_bytes(b"of another commit")
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}


@pytest.mark.parametrize(
    "path", ["/api/models/me/model", "/api/models/me/model/tree/*", "/me/model/resolve/*", "/cdn/*"]
)
def test_a_busy_server_is_asked_again(hub, commit, tmp_path, path):
    hub.fail(path, status=503, times=3)
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}


@pytest.mark.parametrize("path", ["/api/models/me/model", "/cdn/*"])
def test_a_server_that_stays_busy(hub, commit, tmp_path, path):
    hub.fail(path, status=503, times=99)
    with pytest.raises(FetchError, match=r"me/model cannot be fetched: http://\S+ answers 503; try again later"):
        find("me/model").fetch(["model.safetensors"], tmp_path)
    assert sum(request.status == 503 for request in hub.requests) == failures.ATTEMPTS
    assert content(tmp_path) == {}


def test_waits_double(hub, commit, monkeypatch):
    waits = []
    monkeypatch.setattr(failures, "WAIT", 1.0)
    monkeypatch.setattr(failures.time, "sleep", waits.append)
    hub.fail("/api/models/me/model", status=500, times=5)
    find("me/model")
    assert waits == [1, 2, 4, 8, 16]


def test_a_silent_server_is_given_up(hub, commit, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.fail("/cdn/*", pause=0.5, times=99)
    with pytest.raises(FetchError, match=r"me/model cannot be fetched: ReadTimeout.*; run downloads on a machine with"):
        find("me/model").fetch(["model.safetensors"], tmp_path)


def test_a_slow_server_is_waited_for(hub, commit, tmp_path):
    hub.fail("/cdn/*", pause=0.01)
    find("me/model").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}


def test_nobody_there(hub, commit):
    hub.stop()
    with pytest.raises(FetchError, match=r"me/model cannot be fetched: ConnectError.*such as a login node"):
        find("me/model")


def test_offline(hub, commit, tmp_path):
    program = "from prh.downloads.hub import find; find('me/model')"
    environment = {"HF_ENDPOINT": hub.address, "PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "me/model cannot be fetched while HF_HUB_OFFLINE is set" in done.stderr
    assert hub.requests == []


def test_gated(hub, tmp_path, monkeypatch):
    hub.push("me/closed", {"model.safetensors": BIG}, gated=True)
    snapshot = find("me/closed")
    with pytest.raises(
        FetchError, match=r"me/closed is gated and no token is set .*access at http://\S+/me/closed.*hf auth"
    ):
        snapshot.fetch(["model.safetensors"], tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(FetchError, match="me/closed is gated and your token has no access"):
        find("me/closed").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {}
    monkeypatch.setenv("HF_TOKEN", hub.token)
    find("me/closed").fetch(["model.safetensors"], tmp_path)
    assert content(tmp_path) == {"model.safetensors": BIG}
    tokens = {request.path.split("/")[1]: request.token for request in hub.requests}
    assert tokens["me"] == f"Bearer {hub.token}"
    assert tokens["cdn"] is None


def test_a_token_that_is_not_valid(hub, commit):
    hub.fail("/api/*", status=401, message="Invalid credentials in Authorization header")
    with pytest.raises(
        FetchError, match=r"me/model cannot be fetched: .* answers 401; the token is not valid: log in again"
    ):
        find("me/model")


@pytest.mark.parametrize(
    ("repository", "arguments", "message"),
    [
        ("me/none", {}, "the hub has no model me/none, or it is private: correct 'id'"),
        ("me/model", {"kind": "dataset"}, "the hub has no data set me/model"),
        ("me/model", {"revision": "v9"}, "the model me/model has no revision v9; correct 'revision'"),
        ("me/model", {"revision": "0" * 40}, "the model me/model has no revision 0000"),
        ("not a name", {}, "'not a name' cannot be a model of the hub"),
    ],
)
def test_what_is_not_there(hub, commit, repository, arguments, message):
    with pytest.raises(FetchError, match=message):
        find(repository, **arguments)


def test_too_little_room(hub, commit, tmp_path, monkeypatch):
    usage = transfer.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=200_000))
    with pytest.raises(FetchError, match=r"the download needs 307 kB and .* has 200 kB free; make room"):
        find("me/model").fetch(["model.safetensors"], tmp_path)
    assert hub.sent() == 0


def test_a_disk_that_fills_up(hub, commit, tmp_path):
    snapshot = find("me/model")
    transfer._part(snapshot.files["model.safetensors"], tmp_path).symlink_to("/dev/full")
    with pytest.raises(FetchError, match="the disk is full: me/model could not be written; make room and run again"):
        snapshot.fetch(["model.safetensors"], tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


# ---- the lock -------------------------------------------------------------------------------------------------


@pytest.fixture
def lock(tmp_path):
    return Lock(tmp_path / "paper.lock.yaml", "models", "mine")


def test_the_first_download_locks_and_later_ones_hold(hub, commit, lock, caplog):
    assert find("me/model", lock=lock).commit == commit
    assert f"models:\n  mine:\n    id: me/model\n    revision: {commit}\n" in lock.path.read_text()
    assert find("me/model", lock=lock).commit == commit
    assert caplog.text == ""
    new = hub.push("me/model", {"config.json": b"[]"})
    assert find("me/model", lock=lock).commit == commit
    assert f"me/model has moved from {commit} to {new} since it was locked in {lock.path}" in caplog.text
    lock.path.unlink()
    assert find("me/model", lock=lock).commit == new


def test_another_source_is_locked_anew(hub, commit, lock, caplog):
    find("me/model", lock=lock)
    other = hub.push("me/other", {"config.json": b"{}"})
    assert find("me/other", lock=lock).commit == other
    assert "mine: its source was {'id': 'me/model'} and is now {'id': 'me/other'}; locking it again" in caplog.text
    assert commit not in lock.path.read_text()


def test_a_branch_is_locked_and_a_commit_needs_none(hub, commit, lock):
    early = hub.push("me/model", {"config.json": b"early"}, branch="v1")
    assert find("me/model", revision="v1", lock=lock).commit == early
    hub.push("me/model", {"config.json": b"late"}, branch="v1")
    assert find("me/model", revision="v1", lock=lock).commit == early
    before = lock.path.read_text()
    assert find("me/model", revision=commit, lock=lock).commit == commit
    assert lock.path.read_text() == before


def test_a_locked_commit_does_not_need_its_branch(hub, commit, lock, caplog):
    find("me/model", lock=lock)
    del hub.repositories["model", "me/model"].refs["main"]
    assert find("me/model", lock=lock).commit == commit
    assert "cannot check whether it has moved on since it was locked" in caplog.text


def test_a_locked_commit_that_is_gone(hub, commit, lock):
    find("me/model", lock=lock)
    hub.push("me/model", {"config.json": b"[]"})
    del hub.repositories["model", "me/model"].commits[commit]
    with pytest.raises(FetchError, match=rf"has no revision {commit} \(named in .*paper\.lock\.yaml\)"):
        find("me/model", lock=lock)


def test_what_another_experiment_fetched_is_locked_too(hub, commit, tmp_path):
    weights, page = tmp_path / "models/mine/weights.json", tmp_path / "texts/page.jsonl"
    made = {("models", "mine"): weights, ("texts", "page"): page, ("models", "never"): tmp_path / "never/weights.json"}
    first, second = tmp_path / "wit.lock.yaml", tmp_path / "paper.lock.yaml"
    find("me/model", lock=Lock(first, "models", "mine", weights))
    url = hub.serve("page", BIG)
    fetch_url(url, tmp_path / "source", lock=Lock(first, "texts", "page", page))
    assert adopt(second, made) == [], "a record without what it is of"
    assert not second.exists()
    weights.write_text("{}")
    page.write_text("")
    assert adopt(second, made) == []
    assert read(second) == read(first)

    new = hub.push("me/model", {"config.json": b"[]"})
    second.write_text(second.read_text().replace(commit, new))
    (told,) = adopt(second, made)
    assert f"was downloaded by another experiment at {commit}, and {second} holds {new}" in told
    assert read(second)["models"]["mine"]["revision"] == new


def test_parallel_writers(tmp_path):
    path = tmp_path / "lock.yaml"
    program = (
        "import sys; from pathlib import Path; from prh.downloads.lockfile import Lock\n"
        "for i in range(20): Lock(Path(sys.argv[1]), 'models', sys.argv[2] + str(i)).keep({'id': 'x'}, revision='y')"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    writers = [subprocess.Popen([sys.executable, "-c", program, path, name], env=environment) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(read(path)["models"]) == 60


@pytest.mark.parametrize("text", ["[1, 2", "- a", "models: [a]", "models: {a: b}"])
def test_what_is_no_lock_file(lock, text):
    lock.path.write_text(text)
    with pytest.raises(ValueError, match=r"paper\.lock\.yaml is (not YAML|not a lock file)"):
        lock.held({"id": "me/model"})


@pytest.mark.parametrize("value", ["5", "[a]", "{a: b}", "null", "2024-01-02", '"a\\nb"'])
def test_what_is_no_version_in_a_lock_file(lock, value):
    lock.path.write_text(f"models: {{m: {{id: me/model, revision: {value}}}}}")
    with pytest.raises(ValueError, match=r"paper\.lock\.yaml: revision of m is not text; put it in quotes, or delete"):
        lock.held({"id": "me/model"})


# ---- the web --------------------------------------------------------------------------------------------------


def test_a_file_of_the_web_is_locked_by_its_hash(hub, lock, tmp_path):
    url = hub.serve("weights.pth", BIG)
    assert fetch_url(url, tmp_path / "a", lock=lock).read_bytes() == BIG
    assert f"url: {url}\n    sha256: " in lock.path.read_text()
    hub.serve("weights.pth", BIG[::-1])
    with pytest.raises(
        FetchError, match=r"paper\.lock\.yaml \(locked at the first download\) asks for sha256 .* has changed"
    ):
        fetch_url(url, tmp_path / "b", lock=lock)
    assert content(tmp_path / "b") == {}


def test_a_file_of_the_web_with_another_hash_than_the_entry_says(hub, tmp_path):
    with pytest.raises(FetchError, match=r"the experiment asks for sha256 000.*: the file there has changed"):
        fetch_url(hub.serve("weights.pth", BIG), tmp_path, sha256="0" * 64)
    assert content(tmp_path) == {}


def test_a_file_of_the_web_goes_on_where_it_broke(hub, tmp_path):
    url = hub.serve("weights.pth", BIG)
    hub.fail("/web/*", cut=100_000)
    assert fetch_url(url, tmp_path).read_bytes() == BIG
    assert hub.sent("/web/*") == len(BIG)
    assert content(tmp_path) == {"weights.pth": BIG}


def test_an_address_that_leads_in_circles(hub, commit, tmp_path):
    url = hub.serve("archive.zip", BIG)
    hub.fail("/web/*", loop=True, times=100)
    with pytest.raises(FetchError, match=r"archive\.zip cannot be fetched: its address leads in circles"):
        fetch_url(url, tmp_path)
    hub.fail("/api/*", loop=True, times=100)
    with pytest.raises(FetchError, match="me/model cannot be fetched: its address leads in circles"):
        find("me/model")


def test_a_file_without_an_end_needs_a_hash(hub, lock, tmp_path):
    """Cut short, it would pass for whole, and what came would be locked."""
    url = hub.serve("archive.zip", BIG)
    hub.fail("/web/*", unsized=True, cut=1000)
    with pytest.raises(FetchError, match=r"does not say how long it is.*'sha256'"):
        fetch_url(url, tmp_path, lock=lock)
    assert content(tmp_path) == {}
    hub.fail("/web/*", unsized=True)
    digest = hashlib.sha256(BIG).hexdigest()
    assert fetch_url(url, tmp_path, sha256=digest).read_bytes() == BIG


def test_a_missing_file_stops_the_others(hub, tmp_path):
    hub.push("me/two", {"gone.json": b"{}", "model.safetensors": BIG})
    snapshot, start = find("me/two"), time.monotonic()
    hub.fail("*/gone.json", status=404)
    hub.fail("/cdn/*", pause=0.5)  # for each of 19 pieces
    with pytest.raises(FetchError, match="404"):
        snapshot.fetch(snapshot.files, tmp_path)
    assert time.monotonic() - start < 5
    snapshot.fetch(snapshot.files, tmp_path)
    assert content(tmp_path) == {"gone.json": b"{}", "model.safetensors": BIG}


def test_pieces_of_two_versions_are_not_joined(hub, tmp_path):
    url = hub.serve("weights.pth", BIG)
    hub.fail("/web/*", cut=100_000)
    hub.fail("/web/*", status=404)
    with pytest.raises(FetchError, match=r"weights\.pth answers 404; correct its address"):
        fetch_url(url, tmp_path)
    hub.serve("weights.pth", BIG[::-1])
    assert fetch_url(url, tmp_path).read_bytes() == BIG[::-1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://127.0.0.1/x", "an address must begin with https:// or http://"),
        ("no address", "an address must begin with https:// or http://"),
        ("http://127.0.0.1:1/x", "x cannot be fetched: ConnectError"),
    ],
)
def test_wrong_addresses(hub, tmp_path, url, message):
    with pytest.raises(FetchError, match=message):
        fetch_url(url, tmp_path)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/b.zip?c=d.tar", "b.zip"),
        ("https://host/..", "file"),
        ("https://host/a/../..", "file"),
        ("https://host/.", "file"),
        ("https://host", "file"),
        ("https://host/" + "a" * 300 + ".zip", "a" * (files.LONGEST_STEM - 4) + ".zip"),
    ],
)
def test_the_name_of_a_file_of_the_web_is_one_that_a_disk_can_have(url, name):
    assert web.name_of(url) == name


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "a/..", "x\0y"])
def test_a_listing_that_leads_out_of_the_folder_is_refused(monkeypatch, name):
    hostile = RepoFile(path=name, size=1, oid="0" * 40)
    monkeypatch.setattr(HfApi, "list_repo_tree", lambda *arguments, **options: [hostile])
    with pytest.raises(FetchError, match=r"me/mine is not fetched: its file .* would be outside the folder"):
        find("me/mine", revision="0" * 40)


def zip_of(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


# ---- the programs, and the clients ----------------------------------------------------------------------------


def run(program: str, hub, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """A program of the workflow (or a Python text), with the hub as the Hugging Face hub."""
    path = Path(transfer.__file__).parents[2]
    command = [
        sys.executable,
        *([path / program] if program.endswith(".py") else ["-c", program]),
        *map(str, arguments),
    ]
    keep = {key: value for key, value in os.environ.items() if key in ("PATH", "OMP_NUM_THREADS", "HOME")}
    environment = {**keep, "HF_ENDPOINT": hub.address, "PYTHONPATH": ":".join(sys.path), **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def model_entry(**changes) -> str:
    entry = {"name": "mine", "modality": "language", "source": "hub", "id": "me/model"}
    return json.dumps({"model": entry | changes})


def test_the_program_for_models(hub, commit, tmp_path):
    output, lock = tmp_path / "models/mine/weights.json", tmp_path / "paper.lock.yaml"
    done = run("download_model.py", hub, "--spec", model_entry(), "--lock", lock, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "me/model at " in done.stderr
    assert "2 files, 307 kB" in done.stderr
    weights = json.loads(output.read_text())
    assert weights["revision"] == commit
    assert set(weights["files"]) == {"config.json", "model.safetensors"}
    assert content(output.parent / "files") == {"config.json": b"{}", "model.safetensors": BIG}
    assert read(lock) == {"models": {"mine": {"id": "me/model", "revision": commit}}}

    url = hub.serve("checkpoint.pth", BIG)
    spec = model_entry(source="url", url=url, id="vit_tiny_patch16_224")
    done = run("download_model.py", hub, "--spec", spec, "--lock", lock, "--output", output)
    assert done.returncode == 0, done.stderr
    weights = json.loads(output.read_text())
    assert Path(weights["root"]).read_bytes() == BIG
    assert read(lock)["models"]["mine"] == {"url": url, "sha256": weights["files"]["checkpoint.pth"]["sha256"]}


def test_a_program_that_fails_leaves_one_sentence(hub, tmp_path):
    spec = model_entry(id="me/none")
    done = run("download_model.py", hub, "--spec", spec, "--output", tmp_path / "weights.json")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: the hub has no model me/none")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "weights.json").exists()


TIMM_TWICE = (
    "import sys, timm, torch; a, b = (timm.create_model(name, pretrained=True) for name in sys.argv[1:])\n"
    "assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))"
)
TRANSFORMERS_TWICE = (
    "import sys; from transformers import AutoModel, AutoTokenizer\n"
    "a, b = ((AutoModel.from_pretrained(x), AutoTokenizer.from_pretrained(x)) for x in sys.argv[1:])\n"
    "assert a[1]('Once upon a time').input_ids == b[1]('Once upon a time').input_ids\n"
    "assert all((x == y).all() for x, y in zip(a[0].parameters(), b[0].parameters(), strict=True))"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "program", "fetched", "on_the_hub"),
    [
        ("vision/mobilenet_v1_0.25_128", TIMM_TWICE, "local-dir:{}", "hf-hub:me/model"),
        ("language/stories260K", TRANSFORMERS_TWICE, "{}", "me/model"),
    ],
    ids=["timm", "transformers"],
)
def test_libraries_load_what_was_fetched_and_the_hub_itself(hub, tmp_path, real, weights, program, fetched, on_the_hub):
    hub.push("me/model", real / "weights" / weights)
    fetch_model("me/model", tmp_path / "files")
    cache = str(tmp_path / "cache")
    done = run(program, hub, fetched.format(tmp_path / "files"), on_the_hub, HF_HOME=cache)
    assert done.returncode == 0, done.stderr


def fetch_model(repository: str, folder: Path) -> None:
    snapshot = find(repository)
    snapshot.fetch(repositories.needed_files(snapshot.files), folder)


def pictures(count: int, first: int = 0) -> bytes:
    """A Parquet file as `Dataset.push_to_hub` writes it: pictures, captions and a class."""
    labels = datasets_library.ClassLabel(names=["cat", "dog"])
    features = {"image": datasets_library.Image(), "text": datasets_library.Value("string"), "kind": labels}
    numbers = range(first, first + count)
    rows = {
        "image": [Image.new("RGB", (8, 8), (i, 0, 0)) for i in numbers],
        "text": [f"picture {i}" for i in numbers],
        "kind": [i % 2 for i in numbers],
    }
    stream = io.BytesIO()
    datasets_library.Dataset.from_dict(rows, features=datasets_library.Features(features)).to_parquet(stream)
    return stream.getvalue()


CARD = """---
configs:
- config_name: small
  data_files:
  - {split: train, path: small/train-*}
  - {split: test, path: small/test.parquet}
- config_name: large
  data_files: large/*.parquet
---
"""
FORMS = {
    "a card": {"README.md": CARD.encode(), "small/train-0.parquet": pictures(5), "small/train-1.parquet": pictures(5, 5),
               "small/test.parquet": pictures(3, 100), "large/x.parquet": pictures(9, 50)},
    "names": {"README.md": b"# Pictures", "data/train-00000-of-00002.parquet": pictures(5),
              "data/train-00001-of-00002.parquet": pictures(5, 5), "data/test-00000-of-00001.parquet": pictures(3, 100)},
}  # fmt: skip


def dataset_entry(**changes) -> dict:
    entry = {
        "name": "mine",
        "source": "hub",
        "id": "me/pictures",
        "revision": None,
        "split": "train",
        "subset": None,
        "files": None,
    }
    columns = {"image": "image", "captions": "text", "labels": ["kind"], "group": None, "on_error": "fail"}
    return {**entry, **columns, "samples": None, "shuffle_seed": None, "shard_size": 4, **changes}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "subset", "split", "fetched", "count"),
    [
        ("a card", "small", "train", {"README.md", "small/train-0.parquet", "small/train-1.parquet"}, 10),
        ("names", None, "test", {"README.md", "data/test-00000-of-00001.parquet"}, 3),
    ],
)
def test_only_the_files_of_a_split(hub, tmp_path, form, subset, split, fetched, count):
    commit = hub.push("me/pictures", FORMS[form], "dataset")
    spec, folder = json.dumps({"dataset": dataset_entry(subset=subset, split=split)}), tmp_path / "mine"
    source, lock, cache = folder / "source.json", tmp_path / "paper.lock.yaml", {"HF_HOME": str(tmp_path / "cache")}
    done = run("download_dataset.py", hub, "--spec", spec, "--lock", lock, "--output", source, **cache)
    assert done.returncode == 0, done.stderr
    assert set(content(folder / "source")) == fetched
    assert read(lock)["datasets"]["mine"]["revision"] == commit
    asked = len(hub.requests)
    arguments = ["--source", source, "--manifest", folder / "manifest.json", "--shards", folder / "shards"]
    done = run("shard_dataset.py", hub, "--spec", spec, *arguments, **cache)
    assert done.returncode == 0, done.stderr
    assert len(hub.requests) == asked
    rows = [row for path in sorted((folder / "shards").iterdir()) for row in tables.read(path).to_pylist()]
    assert len(rows) == count
    assert rows[0]["labels"] in ([{"name": "kind", "value": "cat"}], [{"name": "kind", "value": "dog"}])
    program = (
        "import sys, datasets; d = datasets.load_dataset('me/pictures', sys.argv[1] or None, split=sys.argv[2])\n"
        "print(list(d['text']))"
    )
    done = run(program, hub, subset or "", split, **cache)
    assert done.stdout.strip() == str([caption for row in rows for caption in row["captions"]]), done.stderr


@pytest.mark.parametrize(
    ("form", "subset", "split", "expected"),
    [
        ("a card", "small", "test", ["small/test.parquet"]),
        ("a card", "large", "train", ["large/x.parquet"]),
        ("a card", "small", "val", "there is no split 'val'; there are train, test"),
        ("a card", "huge", "train", "there is no subset 'huge'"),
        ("a card", None, "train", "the data set has several subsets"),
        ("names", None, "train[:4]", r"there is no split 'train\[:4\]'; there are train, test"),
        ("names", None, "test", ["data/test-00000-of-00001.parquet"]),
        ("an archive", None, "train", None),
    ],
)
def test_files_of_a_split(tmp_path, form, subset, split, expected):
    files = FORMS.get(form, {"photos.zip": b""})
    (tmp_path / "README.md").write_bytes(files.get("README.md", b""))
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            hub_data.files_of_split(files, tmp_path, subset, split)
    else:
        assert hub_data.files_of_split(files, tmp_path, subset, split) == expected


def test_a_split_that_is_not_there_costs_no_download(hub, tmp_path):
    hub.push("me/pictures", FORMS["names"], "dataset")
    spec = json.dumps({"dataset": dataset_entry(split="val")})
    done = run("download_dataset.py", hub, "--spec", spec, "--output", tmp_path / "source.json")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: there is no split 'val'; there are train, test."
    assert hub.sent("/cdn/*") == 0


def test_only_the_named_files_of_a_data_set(hub, tmp_path):
    commit = hub.push("me/pictures", FORMS["names"], "dataset")
    entry = HubDataset(name="mine", source="hub", id="me/pictures", files=["data/train-00000*"])
    assert hub_data.fetch(entry, tmp_path) == (commit, None)
    assert set(content(tmp_path)) == {"data/train-00000-of-00002.parquet"}
    assert len(list(read_hub(tmp_path, "train", None, SampleColumns()))) == 5
    hub_data.fetch(entry.model_copy(update={"files": ["data/test*"]}), tmp_path)
    assert set(content(tmp_path)) == {"data/test-00000-of-00001.parquet"}
    with pytest.raises(DataError, match=r"me/pictures has no file val/\*; it has README.md, data.*Correct 'files'"):
        hub_data.fetch(entry.model_copy(update={"files": ["data/test*", "val/*"]}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_text_of_the_hub_is_fetched_cut_and_tidied_up(hub, tmp_path):
    lines = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in ("one two", "three", "four"))
    commit = hub.push("me/text", {"train.jsonl": lines, "other.jsonl": lines}, "dataset")
    text = json.dumps({"text": {"name": "t", "source": "hub", "id": "me/text", "files": ["train*"], "bytes": 9}})
    output, lock = tmp_path / "texts/t.jsonl", tmp_path / "paper.lock.yaml"
    done = run("download_text.py", hub, "--spec", text, "--lock", lock, "--output", output)
    assert done.returncode == 0, done.stderr
    made = content(tmp_path / "texts")
    assert yaml.safe_load(made.pop("t.lock.yaml")) == read(lock)
    assert made == {"t.jsonl": b'"one two"\n"three"\n'}
    assert read(lock) == {"texts": {"t": {"id": "me/text", "revision": commit}}}


def endings(label: int) -> bytes:
    """A Parquet file of the form of HellaSwag's, in which the ending number ``label`` is right."""
    row = {"activity_label": "Park", "ctx_a": "One day, a little girl went", "ctx_b": "to the", "label": str(label),
           "ctx": "One day, a little girl went to the", "endings": ["park.", "zq xv.", "!!!", "kk kk."]}  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(3 * [row]), buffer)
    return buffer.getvalue()


@pytest.mark.slow
def test_a_task_of_lm_eval_is_locked_fetched_and_run_without_the_hub(hub, tmp_path, real):
    """Questions that change on the hub after the first download change nothing: the locked ones are fetched again."""
    files = {f"data/{split}-00000-of-00001.parquet": endings(0) for split in ("train", "validation")}
    first = hub.push("Rowan/hellaswag", files, "dataset")
    hub.push("Rowan/hellaswag", {name: endings(1) for name in files}, "dataset")
    lock = tmp_path / "paper.lock.yaml"
    lock.write_text(f"harness: {{hellaswag: {{id: Rowan/hellaswag, revision: {first}}}}}\n")
    spec = {"name": "hellaswag", "source": "lm_eval", "shots": 0, "limit": 3}
    task, weights = tmp_path / "tasks/hellaswag/hellaswag.yaml", tmp_path / "weights.json"
    done = run("download_task.py", hub, "--spec", json.dumps({"task": spec}), "--lock", lock, "--output", task)
    assert done.returncode == 0, done.stderr
    assert content(task.parent / "data") == files
    assert first in task.read_text()

    path = str(real / "weights/language/stories260K")
    model = {"name": "m", "modality": "language", "source": "local", "path": path}
    done = run("download_model.py", hub, "--spec", json.dumps({"model": model}), "--output", weights)
    assert done.returncode == 0, done.stderr
    hub.stop()
    scores = tmp_path / "scores.parquet"
    options = ["--spec", json.dumps({"task": spec, "model": model}), "--task", task, "--weights", weights]
    outputs = ["--results", tmp_path / "results.json", "--scores", scores]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = run("harness.py", hub, *options, *outputs, **offline)
    assert done.returncode == 0, done.stderr
    assert set(tables.read(scores)["task"].to_pylist()) == {"hellaswag"}
    assert tables.read(scores)["n"].to_pylist()[0] == 3


def test_an_archive_of_the_web_as_data_set(hub, tmp_path):
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}"} for i in range(3)]
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    files = {f"photos/{i}.png": stream.getvalue() for i in range(3)}
    url = hub.serve("photos.zip", zip_of(**files, **{"photos/metadata.jsonl": "\n".join(map(json.dumps, rows))}))
    entry = {"name": "mine", "source": "url", "url": url, "folder": "photos"}
    spec = json.dumps({"dataset": entry})
    lock = tmp_path / "paper.lock.yaml"
    done = run("download_dataset.py", hub, "--spec", spec, "--lock", lock, "--output", tmp_path / "mine/source.json")
    assert done.returncode == 0, done.stderr
    root = Path(json.loads((tmp_path / "mine/source.json").read_text())["root"])
    assert len(list(read_local(root, SampleColumns()))) == 3
    assert read(lock)["datasets"]["mine"]["url"] == url
