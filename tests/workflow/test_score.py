"""The results of an experiment as a bank: its own models scored against it have the numbers of its own table."""

import subprocess
import sys

import polars as pl
import pytest

import prh
from prh.bank import feature_files

pytestmark = pytest.mark.slow

SAME = (("score", "score"), ("threshold", "threshold"), ("p", "p"), ("calibrated", "calibrated"),
        ("layer", "layer_x"), ("model_layer", "layer_y"), ("n", "n"), ("k", "k"), ("modality", "modality_y"))  # fmt: skip


@pytest.fixture(scope="module")
def results(finished):
    return finished.folder / "results"


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "prh", *map(str, arguments)], capture_output=True, text=True)


def test_a_model_of_the_experiment_has_the_numbers_of_its_table(results):
    """Exactly: its row compares it with the models before it, whose samples are permuted as here."""
    best = pl.read_parquet(results / "tables/alignment.parquet")
    models = pl.read_parquet(results / "tables/models.parquet")["model"].to_list()
    compared = 0
    for number, model in enumerate(models[1:], 1):
        layers, ids = feature_files.read(results / f"features/colours/{model}.parquet")
        how = {"k": 3, "permutations": 20, "name": model, "models": models[:number]}
        table = prh.score(layers, results, sample_ids=ids, **how)
        row = best.filter(pl.col("model_x") == model, pl.col("metric") == "mutual_knn")
        joined = table.join(row, left_on="model", right_on="model_y", suffix="_row")
        for ours, theirs in SAME:
            column = theirs if theirs not in table.columns else f"{theirs}_row"
            assert joined[ours].to_list() == joined[column].to_list(), (model, ours)
        compared += joined.height
    assert compared == len(models) * (len(models) - 1) // 2


def test_captions_come_from_the_shards(results):
    bank = prh.Bank(results)
    assert len(bank.captions()) == bank.n
    assert bank.groups is None


def test_the_command_line_shows_and_scores(results):
    features = results / "features/colours/words.parquet"
    done = run("score", features, "--bank", results, "--k", "3", "--permutations", "20", "--name", "mine")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    shown = run("show", results, "--model", "words")
    assert shown.returncode == 0, shown.stderr
    title, header, *rows = shown.stdout.splitlines()
    assert title == "colours: mutual_knn, k = 3, 24 samples, 3 pairs of words"
    assert header.split()[:3] == ["model", "with", "score"]
    assert len(rows) == 3
