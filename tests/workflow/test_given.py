"""Features and kernels that exist already, as models of an experiment."""

import json
import os
import time

import numpy as np
import pytest

from tests.workflow.conftest import lay_out, vision, write_data

pytestmark = pytest.mark.slow


def names_in(folder) -> list[str]:
    return [json.loads(line)["file_name"] for line in (folder / "metadata.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def own(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    write_data(folder / "data")
    samples = names_in(folder / "data")
    order = np.random.default_rng(0).permutation(len(samples))
    layers = np.random.default_rng(1).normal(size=(len(samples), 2, 6)).astype(np.float32)
    np.savez(folder / "mine.npz", sample_id=np.array(samples)[order], deep=layers[order, 0], flat=layers[order, 1])
    np.save(folder / "same.npy", layers)
    centred = layers[:, 0] - layers[:, 0].mean(1, keepdims=True)
    np.save(folder / "rdm.npy", 1 - np.corrcoef(centred).astype(np.float64))
    given = {"files": {"colours": "mine.npz"}, "modality": "touch", "source": "features"}
    kernel = {"source": "kernel", "kind": "dissimilarity", "files": {"colours": "rdm.npy"}, "order": "dataset"}
    experiment = {
        "datasets": [{"name": "colours", "source": "local", "path": "data", "shard_size": 10}],
        "models": [
            vision("vit"),
            {"name": "mine", **given},
            {"name": "same", **given, "files": {"colours": "same.npy"}, "order": "dataset"},
            {"name": "IT", "modality": "brain", **kernel},
        ],
        "alignment": {
            "metrics": ["mutual_knn", "cka", "rsa"],
            "k": [3],
            "k_max": 80,
            "n": [12, 24],
            "clamp": None,
            "permutations": 19,
            "subsamples": 5,
            "splits": 2,
        },
    }
    workflow = lay_out(repository, folder, experiment)
    workflow.run()
    return workflow


def score(workflow, metric, x, y):
    best = workflow.table("tables/alignment.parquet")
    row = best.filter(best["metric"] == metric, best["model_x"] == x, best["model_y"] == y).row(0, named=True)
    return row["score"], (row["layer_x"], row["layer_y"])


def test_they_are_compared_like_any_other_model(own):
    models = own.table("tables/models.parquet")
    assert dict(models.select("model", "modality").rows()) == {
        "vit": "vision", "mine": "touch", "same": "touch", "IT": "brain"}  # fmt: skip
    assert dict(models.select("model", "layers").rows())["mine"] == 2
    assert len(own.table("tables/alignment.parquet")) == 3 * 6
    assert (own.folder / "results/figures/colours/mutual_knn_k3/alignment_matrix.png").is_file()
    assert own.would_run() == {}


def test_rows_are_those_of_their_samples(own):
    """The same features, in the order of the data set without ids and in another with them."""
    for metric in ("mutual_knn", "cka", "rsa"):
        value, layers = score(own, metric, "same", "mine")
        assert value == pytest.approx(1)
        assert layers[0] == layers[1]


def test_a_kernel_agrees_with_the_features_whose_kernel_it_is(own):
    value, layers = score(own, "rsa", "IT", "mine")
    assert value == pytest.approx(1)
    assert layers == (0, 0)


def test_a_kernel_is_swept_over_n_like_features(own):
    swept = own.table("tables/colours/mutual_knn_k3/n_sweep.parquet")
    pair = swept.filter(swept["model_x"] == "IT", swept["model_y"] == "mine")
    assert pair["n"].to_list() == [12, 24]
    assert pair["score"].min() > 0.4  # correlations of one of its layers, whose cosines are near


def test_a_touch_runs_nothing_and_other_content_its_chain(own):
    path, features = own.folder / "mine.npz", own.folder / "results/features/colours"
    os.utime(path)
    own.run()
    assert (features / "mine.parquet").stat().st_mtime < path.stat().st_mtime, "what was touched is not read again"
    assert own.would_run() == {}

    time.sleep(0.1)
    before = dict(np.load(path))
    np.savez(path, **before | {"flat": before["flat"][::-1]})
    own.run()
    assert (features / "mine.parquet").stat().st_mtime > path.stat().st_mtime
    assert (features / "same.parquet").stat().st_mtime < path.stat().st_mtime, "the other model is as it was"
    assert own.would_run() == {}


def test_one_more_is_computed_alone(own):
    own.experiment["models"].append({**own.experiment["models"][1], "name": "more"})
    would = own.would_run()
    own.experiment["models"].pop()
    studies = {name: would.pop(name) for name in ("study", "draw", "best_layers", "collect_sweep")}
    assert all(studies.values())
    assert would == {"note_given": 1, "given": 1, "neighbours": 1, "alignment": 3, "n_sweep": 1}


def test_a_file_that_does_not_fit_stops_its_job_with_one_sentence(own, tmp_path):
    np.save(own.folder / "short.npy", np.zeros((3, 4), np.float32))
    wrong = {**own.experiment["models"][2], "name": "short", "files": {"colours": "short.npy"}}
    own.experiment["models"].append(wrong)
    done = own.snakemake("--cores", "2", "--", "results/features/colours/short.parquet", check=False)
    own.experiment["models"].pop()
    assert done.returncode
    assert "short.npy has 3 rows and data set 'colours' has 24 samples" in own.log_of("features/colours/short")
    assert not (own.folder / "results/features/colours/short.parquet").exists()
