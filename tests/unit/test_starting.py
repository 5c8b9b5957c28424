"""`prh init`: what a folder holds, and the experiment that is written for it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from prh.datasets.errors import DataError
from prh.datasets.local_forms import FormError
from prh.experiment import starting
from prh.experiment.loading import load
from prh.experiment.registries import expand
from prh.experiment.starting import NothingUsable, look

SAMPLES = 24


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return path


def rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def captioned(folder):
    for i in range(SAMPLES):
        picture(folder / f"{i}.png", i)
    rows(folder / "metadata.jsonl", [{"file_name": f"{i}.png", "text": f"cat {i}"} for i in range(SAMPLES)])


def classes(folder):
    for i in range(SAMPLES):
        picture(folder / "ab"[i % 2] / f"{i}.png", i)


def texts(folder):
    folder.mkdir()
    content = "id,caption,label\n" + "".join(f'{i},"a cat, {i}",x\n' for i in range(SAMPLES))
    (folder / "metadata.csv").write_text(content)


def parquet(folder):
    folder.mkdir()
    image = picture(folder.parent / "one.png").read_bytes()
    table = {
        "caption": pa.array(range(SAMPLES)),  # numbers, so no captions
        "sentences": [[f"cat {i}", f"dog {i}"] for i in range(SAMPLES)],
        "img": [{"bytes": image, "path": None}] * SAMPLES,
        "label": pa.array([0, 1] * (SAMPLES // 2)),
    }
    pq.write_table(pa.table(table), folder / "train.parquet")


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("make", "form", "image", "captions", "labels", "models"),
    [
        (captioned, "images with captions (metadata.jsonl)", "image", "text", [], 4),
        (classes, "images in 2 folders, one per class", "image", None, ["class"], 2),
        (texts, "texts (metadata.csv)", None, "caption", ["label"], 2),
        (parquet, "images and captions (train.parquet)", "img", "sentences", ["label"], 4),
    ],
)
def test_what_is_there_becomes_an_experiment_that_loads(here, make, form, image, captions, labels, models):
    make(here / "mine")
    said = starting.write(here / "mine")
    assert len(said) == 3
    assert f"{SAMPLES} {form}" in said[0]
    experiment = load(expand(yaml.safe_load((here / "mine.yaml").read_text()), here, starting.workflow_folder()))
    (dataset,) = experiment.datasets
    assert (dataset.name, dataset.path, dataset.image, dataset.captions) == ("mine", "mine", image, captions)
    assert dataset.labels == labels
    assert [model.modality for model in experiment.models] == ["vision"] * 2 * bool(image) + ["language"] * 2 * bool(
        captions
    )
    assert len(experiment.models) == models
    assert all(model.name in said[1] for model in experiment.models)
    assert "mine.yaml" in said[2]


def test_the_probe_that_is_suggested_loads_too(here):
    classes(here / "mine")
    starting.write(here / "mine")
    text = (here / "mine.yaml").read_text()
    with_probe = text.replace("# probes:", "probes:").replace("#   - {name: class", "  - {name: class")
    experiment = load(expand(yaml.safe_load(with_probe), here, starting.workflow_folder()))
    assert [probe.label for probe in experiment.probes] == ["class"]


def test_the_models_to_begin_with_are_free_and_small():
    raw = {"models": [{"from": file, "only": list(names)} for file, names in (starting.VISION, starting.LANGUAGE)]}
    for model in expand(raw, starting.workflow_folder())["models"]:
        assert model["parameters"] < 200e6
        assert not model.get("gated")
        assert model["licence"] == "apache-2.0"


def test_features_beside_the_data_are_models_and_others_are_left_out_with_a_reason(here):
    captioned(here / "mine")
    features = np.random.default_rng(0).normal(size=(SAMPLES, 5)).astype(np.float32)
    (here / "mine/features").mkdir()
    np.save(here / "mine/features/own one.npy", features)
    np.savez(here / "mine/ids.npz", layer=features, sample_id=[f"{i}.png" for i in range(SAMPLES)])
    np.save(here / "mine/short.npy", features[1:])
    np.save(here / "mine/whole.npy", features.astype(int))
    (here / "mine/broken.npz").write_bytes(b"PK\x03\x04 no")
    said = starting.write(Path("mine"))
    text = (here / "mine.yaml").read_text()
    given = {model["name"]: model for model in yaml.safe_load(text)["models"] if model.get("source") == "features"}
    assert given["features-own-one"]["order"] == "dataset"
    assert given["features-own-one"]["files"] == {"mine": "mine/features/own one.npy"}
    assert "order" not in given["features-ids"]
    assert len(given) == 2
    assert "left out 3 files" in said[1]
    assert "# left out: mine/short.npy: short has 23 rows and no ids, but there are 24 samples." in text
    assert "# left out: mine/whole.npy" in text
    assert "# left out: mine/broken.npz cannot be read" in text


def test_two_files_of_features_of_one_name_are_two_models(here):
    captioned(here / "mine")
    features = np.random.default_rng(0).normal(size=(SAMPLES, 5)).astype(np.float32)
    np.save(here / "mine/own.npy", features)
    np.savez(here / "mine/own.npz", layer=features)
    starting.write(here / "mine")
    names = [model.get("name") for model in yaml.safe_load((here / "mine.yaml").read_text())["models"]]
    assert len({*names, None}) == 3


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda folder: None, NothingUsable, "does not exist"),
        (lambda folder: folder.mkdir(), NothingUsable, "holds nothing to begin with"),
        (lambda folder: rows(folder / "metadata.jsonl", []), NothingUsable, "holds no row"),
        (lambda folder: rows(folder / "metadata.jsonl", [{"a": 1}] * 9), NothingUsable, "its columns are a"),
        (lambda folder: rows(folder / "metadata.jsonl", [{"text": "a"}] * 5), NothingUsable, "holds 5 samples"),
    ],
)
def test_nothing_usable_is_one_sentence(here, make, error, sentence):
    make(here / "mine")
    with pytest.raises(error, match=sentence):
        starting.write(here / "mine")
    assert not (here / "mine.yaml").exists()


def test_damaged_files_are_named(here):
    (here / "mine").mkdir()
    (here / "mine/metadata.csv").write_text("text\na,b\n")
    with pytest.raises(FormError, match=r"metadata\.csv, line 2"):
        look(here / "mine")
    (here / "mine/metadata.csv").unlink()
    (here / "mine/a.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"a\.parquet is not a complete Parquet file"):
        look(here / "mine")


def test_features_alone_are_told_what_they_need(here):
    (here / "mine").mkdir()
    np.save(here / "mine/a.npy", np.zeros((9, 3), np.float32))
    with pytest.raises(NothingUsable, match=r"features \(a\.npy\) but no samples"):
        look(here / "mine")


def test_a_parquet_file_without_images_or_texts_is_told_its_columns(here):
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [1, 2]}), here / "mine.parquet")
    with pytest.raises(NothingUsable, match="its columns are x, y"):
        look(here / "mine.parquet")


def test_results_never_lie_among_images(here, monkeypatch):
    classes(here / "mine")
    monkeypatch.chdir(here / "mine/a")
    for path in ("..", "."):
        with pytest.raises(NothingUsable, match="results would lie among the data"):
            look(here / "mine/a" / path)


def test_metadata_may_lie_where_the_experiment_is_run(here, monkeypatch):
    captioned(here / "mine")
    monkeypatch.chdir(here / "mine")
    starting.write(here / "mine")
    assert yaml.safe_load((here / "mine/mine.yaml").read_text())["datasets"][0]["path"] == "."


@pytest.mark.parametrize("name", ["a b", "null", "Käfer", "x: y # z", "12", "..hidden.", "-"])
def test_any_name_of_a_folder(here, name):
    texts(here / name)
    starting.write(here / name)
    (written,) = here.glob("*.yaml")
    experiment = load(expand(yaml.safe_load(written.read_text()), here, starting.workflow_folder()))
    assert experiment.datasets[0].path == name


def test_a_file_is_only_replaced_if_that_is_asked_for(here):
    texts(here / "mine")
    (here / "mine.yaml").write_text("precious")
    command = [sys.executable, "-m", "prh", "init", "mine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: mine.yaml is there already; pass --force to replace it.\n"
    assert (here / "mine.yaml").read_text() == "precious"
    done = subprocess.run([*command, "--force"], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    assert (here / "mine.yaml").read_text().startswith("# mine: 24 texts")


@pytest.mark.slow
def test_the_experiment_runs(here, repository):
    """With random weights instead of those of the hub, from the folder where it was written."""
    classes(here / "photos")
    np.save(here / "photos/own.npy", np.random.default_rng(0).normal(size=(SAMPLES, 5)).astype(np.float32))
    starting.write(here / "photos")
    said = subprocess.run([sys.executable, "-m", "prh", "workflow"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(repository / "Snakefile")
    snakemake = [sys.executable, "-m", "snakemake", "-s", said.stdout.strip()]
    dry = [*snakemake, "--configfile", "photos.yaml", "-n", "-q", "rules"]
    assert subprocess.run(dry, capture_output=True, check=False).returncode == 0

    raw = yaml.safe_load((here / "photos.yaml").read_text())
    random = {"name": "random", "modality": "vision", "source": "random", "id": "test_vit.r160_in1k"}
    (own,) = (model for model in raw["models"] if model.get("source") == "features")
    (here / "photos.yaml").write_text(yaml.safe_dump(raw | {"models": [random, own]}))
    command = [
        *snakemake,
        "--configfile",
        "photos.yaml",
        "--cores",
        "2",
        "--",
        "results/photos/tables/alignment.parquet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pq.read_table(here / "results/photos/tables/alignment.parquet")
    assert table.num_rows == 1


def test_beginning_needs_none_of_the_libraries_of_models_or_of_the_workflow(here):
    captioned(here / "mine")
    heavy = ["timm", "transformers", "datasets", "huggingface_hub", "PIL", "snakemake", "matplotlib", "h5py"]
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy})); from prh.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "init", "mine"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
