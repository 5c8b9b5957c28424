"""An address with a password and a signature is fetched, and what is secret in it is written down nowhere."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.hub import Hub
from tests.workflow.conftest import lay_out

pytestmark = pytest.mark.slow

SECRETS = ("hunter2", "5ignature", "70ken")


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as content:
        rows = []
        for i in range(24):
            picture = io.BytesIO()
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (24, 24, 3), np.uint8)).save(picture, "PNG")
            content.writestr(f"{i:02d}.png", picture.getvalue())
            rows.append(json.dumps({"file_name": f"{i:02d}.png", "text": f"caption {i}"}))
        content.writestr("metadata.jsonl", "\n".join(rows))
    return packed.getvalue()


@pytest.fixture
def secret(repository, tmp_path):
    with Hub() as hub:
        hub.web["data.zip"] = archive()
        host = hub.address.removeprefix("http://")
        url = f"http://me:hunter2@{host}/web/data.zip?X-Amz-Signature=5ignature&token=70ken&part=1"
        model = {"name": "vit", "modality": "vision", "source": "random", "id": "test_vit"}
        experiment = {
            "datasets": [{"name": "web", "source": "url", "url": url, "captions": None}],
            "models": [model, {**model, "name": "resnet", "id": "test_resnet"}],
            "alignment": {"k": [3], "k_max": 20, "permutations": 0, "subsamples": 0, "splits": 0},
        }
        yield hub, lay_out(repository, tmp_path / "secret", experiment)


def holding_secrets(folder) -> list[str]:
    """The files, but for the experiment itself, in which a secret stands, or in whose name."""
    held = []
    for path in folder.rglob("*"):
        if path.name == "tiny.yaml" or "__pycache__" in path.parts:
            continue
        told = str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"")
        held += [f"{path}: {secret}" for secret in SECRETS if secret.encode() in told]
    return held


def test_secrets_of_an_address_are_nowhere(secret):
    hub, workflow = secret
    features = "results/features/web/vit.parquet"
    done = workflow.snakemake("--cores", "2", "--printshellcmds", "--verbose", features, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any("token=70ken" in request.path for request in hub.requests), "the server is given all of it"
    said = done.stdout + done.stderr
    assert not [name for name in SECRETS if name in said]
    assert holding_secrets(workflow.folder) == []
    lock = (workflow.folder / "tiny.lock.yaml").read_text()
    assert "***@" in lock
    assert "token=***" in lock

    # a new signature for the same file is no other file
    (dataset,) = workflow.experiment["datasets"]
    dataset["url"] = dataset["url"].replace("5ignature", "5ignature-of-tomorrow")
    assert workflow.would_run(features) == {}


def test_secrets_of_an_address_that_fails_are_nowhere(secret):
    hub, workflow = secret
    hub.web.clear()
    done = workflow.snakemake("--cores", "1", "--printshellcmds", "results/datasets/web/source.json", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "cannot be fetched" in said
    assert not [name for name in SECRETS if name in said]
    assert holding_secrets(workflow.folder) == []
