"""The programs that fetch and shard a data set, in the locales in which they may be started."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import load
from prh.experiment.plan import Plan
from prh.io import tables

PROGRAMS = Path(tables.__file__).parents[2]
MODEL = {"name": "m", "modality": "vision", "source": "random", "id": "resnet18"}


def sharded(root: Path, out: Path, *, environment=(), **entry):
    """What download_dataset and shard_dataset make of a local data set; its manifest, or what the last one said."""
    raw = {"datasets": [{"name": "mine", "source": "local", "path": str(root), **entry}], "models": [MODEL]}
    specs = JobSpecs(Plan(load(raw)))
    fetched, cut = str(specs.download_dataset("mine")), str(specs.shard_dataset("mine"))
    source, manifest = out / "source.json", out / "manifest.json"
    outputs = ["--manifest", manifest, "--shards", out / "shards"]
    steps = (
        ["download_dataset.py", "--spec", fetched, "--output", source],
        ["shard_dataset.py", "--spec", cut, "--source", source, *outputs],
    )
    for program, *arguments in steps:
        command = [sys.executable, PROGRAMS / program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, env={**os.environ, **dict(environment)}, check=False)
        said = (done.stdout + done.stderr).decode("utf-8")
        if done.returncode:
            return None, said
    return json.loads(manifest.read_text(encoding="utf-8")), said


def picture(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 9, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "POSIX"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["POSIX", "ASCII only"],
)
def test_every_locale_reads_utf8(tmp_path, environment):
    root = tmp_path / "photos"
    root.mkdir()
    (root / "1.png").write_bytes(picture(1))
    rows = [{"file_name": "1.png", "text": "ein Käfer, 5 ± 1 mm"}, {"file_name": "gone/Käfer.png", "text": "x"}]
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (root / "metadata.jsonl").write_text(content, encoding="utf-8")
    manifest, said = sharded(root, tmp_path / "out", environment=environment, on_error="skip")
    assert manifest is not None, said
    assert manifest["bad"] == [
        {"sample_id": "gone/Käfer.png", "reason": "image missing ('gone/Käfer.png' is not there)"}
    ]
    assert "mine: left out gone/Käfer.png" in said
    shard = tables.read(tmp_path / "out/shards/00000.parquet")
    assert shard["captions"].to_pylist() == [["ein Käfer, 5 ± 1 mm"]]


def test_folders_of_images_need_no_null(tmp_path):
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(picture(1))
    manifest, said = sharded(tmp_path / "photos", tmp_path / "out", labels=["class"])
    assert manifest is not None, said
    assert manifest["form"] == "images, their folder the label 'class'"
    assert "mine: 2 samples in 1 shards, 0 skipped, read as images, their folder the label 'class'" in said
    assert manifest["inferred"] == ["no captions (images in folders have none)", "ids are their paths"]
    assert "mine: inferred: no captions (images in folders have none), ids are their paths\n" in said
    manifest, said = sharded(tmp_path / "photos", tmp_path / "out2", captions="text")
    assert "error: " in said
    assert "set captions: null" in said


@pytest.mark.parametrize(
    ("name", "content"), [("metadata.csv", "text\na\nb\n"), ("metadata.jsonl", '{"text": "a"}\n{"text": "b"}\n')]
)
def test_texts_alone_need_no_null(tmp_path, name, content):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / name).write_text(content)
    manifest, said = sharded(tmp_path / "texts", tmp_path / "out")
    assert manifest is not None, said
    assert (manifest["samples"], manifest["form"]) == (2, f"{name}: texts")
    assert manifest["inferred"] == [f"no images ({name} names none)", "ids are numbers, as no column has any"]
    assert f"mine: inferred: no images ({name} names none), ids are numbers" in said


def test_a_single_file_of_texts_is_a_data_set(tmp_path):
    (tmp_path / "mine.csv").write_text("id,text\na,one\nb,two\n")
    manifest, said = sharded(tmp_path / "mine.csv", tmp_path / "out")
    assert manifest is not None, said
    assert manifest["inferred"] == ["no images (mine.csv names none)", "ids from column 'id'"]
    shard = tables.read(tmp_path / "out/shards/00000.parquet")
    assert shard["sample_id"].to_pylist() == ["a", "b"]


def test_what_an_entry_says_is_not_inferred(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").write_bytes(picture(1))
    (tmp_path / "photos/2.png").write_bytes(picture(2))
    rows = "".join(f'{{"file_name": "{i}.png", "text": "a", "key": "{i}"}}\n' for i in (1, 2))
    (tmp_path / "photos/metadata.jsonl").write_text(rows)
    manifest, said = sharded(tmp_path / "photos", tmp_path / "out", image=None, sample_id="key")
    assert manifest is not None, said
    assert manifest["inferred"] == []
    assert "inferred" not in said
    manifest, said = sharded(tmp_path / "photos", tmp_path / "out2")
    assert manifest["inferred"] == ["ids from column 'file_name'"]


def test_images_and_ids_in_parquet_are_inferred(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").write_bytes(picture(1))
    (tmp_path / "photos/2.png").write_bytes(picture(2))
    columns = {"file_name": ["1.png", "2.png"], "text": ["a", "b"], "id": [7, 8]}
    pq.write_table(pa.table(columns), tmp_path / "photos/data.parquet")
    manifest, said = sharded(tmp_path / "photos", tmp_path / "out")
    assert manifest is not None, said
    assert manifest["inferred"] == ["images from column 'file_name'", "ids from column 'id'"]


def test_a_mistake_is_one_sentence(tmp_path):
    (tmp_path / "metadata.jsonl").write_bytes('{"text": "Käfer"}'.encode("latin-1"))
    manifest, said = sharded(tmp_path, tmp_path / "out", image=None)
    assert manifest is None
    assert (
        "error: " + str(tmp_path / "metadata.jsonl") + ", line 1: not UTF-8 text (byte e4); save it as UTF-8." in said
    )
    assert "Traceback" not in said
