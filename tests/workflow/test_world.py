"""The default experiment, whole: what must come out of a world in which representations converge, and what must not."""

import io

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from scipy.stats import spearmanr

import prh
from prh.io import tables
from prh.world import convergence, idealised
from prh.world.written import events_of
from tests.workflow.conftest import lay_out

pytestmark = [pytest.mark.slow, pytest.mark.whole]

CHANCE = 10 / 511
BLIND = {"random-vit", "autoencoder-vit"}  # they see colours, not events


@pytest.fixture(scope="module")
def default(repository, tmp_path_factory):
    settings = yaml.safe_load((repository / "config.yaml").read_text())
    workflow = lay_out(repository, tmp_path_factory.mktemp("world"), settings)
    workflow.run()
    return workflow


@pytest.fixture(scope="module")
def best(default):
    return default.table("tables/alignment.parquet")


def scores_between(best, dataset, one, other):
    return convergence.between(best.filter(dataset=dataset), one, other)


@pytest.fixture(scope="module")
def competence(default):
    """{modality: {model: competence}}: mean accuracy of the probes, and bits per byte (the fewer the better)."""
    scores = default.table("tables/scores.parquet")
    return {modality: convergence.competence(scores, modality) for modality in ("vision", "language")}


@pytest.mark.parametrize("modality", ["vision", "language"])
def test_alignment_with_reality_rises_with_competence(best, competence, modality):
    aligned = {model: row["reality"] for model, row in scores_between(best, "world", modality, "world").items()}
    able = competence[modality]
    assert len(able) >= (6 if modality == "vision" else 5)
    assert spearmanr([able[m] for m in able], [aligned[m] for m in able]).statistic >= 0.8


@pytest.mark.parametrize(("modality", "other"), [("vision", "language"), ("language", "vision")])
def test_alignment_with_the_other_modality_rises_with_competence(best, competence, modality, other):
    rows = scores_between(best, "world", modality, other)
    aligned = {
        model: np.mean([score for name, score in row.items() if name not in BLIND]) for model, row in rows.items()
    }
    able = competence[modality]
    assert spearmanr([able[m] for m in able], [aligned[m] for m in able]).statistic >= 0.8


def test_the_strongest_of_both_modalities_agree(best, competence):
    vision, language = (max(able, key=able.get) for able in (competence["vision"], competence["language"]))
    assert scores_between(best, "world", "vision", "language")[vision][language] >= 0.4


def test_random_weights_are_at_chance(best):
    with_reality = scores_between(best, "world", "vision", "world")["random-vit"]["reality"]
    with_language = scores_between(best, "world", "vision", "language")["random-vit"].values()
    assert abs(with_reality - CHANCE) < 0.03
    assert max(with_language) < CHANCE + 0.03


def test_raw_pixels_are_at_chance(default):
    shards = sorted((default.folder / "results/datasets/world/shards").glob("*.parquet"))
    samples = [row for path in shards for row in tables.read(path).to_pylist()]
    images = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in samples]
    pixels = np.stack(images).reshape(len(images), -1).astype(np.float32)
    reality = idealised.build().reality_features()[events_of([row["sample_id"] for row in samples])]
    assert abs(prh.align(prh.prepare(pixels), prh.prepare(reality)).best - CHANCE) < 0.03


def test_shuffled_captions_are_at_chance(best):
    rows = scores_between(best, "shuffled", "vision", "language")
    assert len(rows) >= 2
    assert max(score for row in rows.values() for score in row.values()) < CHANCE + 0.03
    with_reality = scores_between(best, "shuffled", "vision", "world")
    assert max(row["reality"] for row in with_reality.values()) > 0.4, "the images themselves are as they were"


def test_reality_is_significant_and_the_control_is_not(best):
    across = best.filter(pl.col("modality_x") != pl.col("modality_y"), model_x="llama-w48-300")
    assert across.filter(dataset="world", model_y="next-vit-250")["q"].item() < 0.05
    assert across.filter(pl.col("modality_y") == "vision", dataset="shuffled")["q"].min() > 0.01


def test_the_demo_says_what_came_out(default, best):
    lines = list(convergence.report(best.filter(dataset="world"), default.table("tables/scores.parquet"),
                                    best.filter(dataset="shuffled")))  # fmt: skip
    assert lines[0] == "chance level k / (n - 1) = 0.020"
    assert lines[1].startswith("vision with reality, by rising competence: 0.02")
    assert "strongest of both modalities" in lines[3]


def test_two_curves_rise_along_the_training(default):
    """A learner of each modality has six checkpoints: both come to agree with reality and with each other's modality."""
    folder = "tables/world/mutual_knn_k10/trajectory"
    quoted = default.table(f"{folder}_statistics.parquet")
    rows = default.table(f"{folder}.parquet")
    assert rows.group_by("run").agg(pl.col("step").n_unique())["step"].to_list() == [6, 6]
    assert set(quoted["group"]) == {"vision", "language", "world"}
    assert quoted["value"].min() >= 0.8
    with_reality = rows.filter(other="reality").sort("step")
    for run in ("next-vit-250", "gpt2-w32-100"):
        curve = with_reality.filter(run=run)["y"].to_list()
        assert abs(curve[0] - CHANCE) < 0.03
        assert curve[-1] > 0.6
    kept = default.folder / "results/models/next-vit-250/steps/60/model.safetensors"
    used = default.folder / "results/models/next-vit-250@60/files/model.safetensors"
    assert kept.read_bytes() == used.read_bytes()


def test_every_figure_of_the_paper_is_drawn(default):
    folder = default.folder / "results/figures/world/mutual_knn_k10"
    for name in ("alignment_matrix", "cross_modal", "layer_matrix_strongest", "figure2", "figure3", "figure4"):
        assert (folder / f"{name}.svg").stat().st_size > 5_000
        assert min(Image.open(folder / f"{name}.png").size) > 400
    assert default.would_run() == {}


def test_the_training_of_most_steps_is_among_the_first_two(default):
    """With two cores: nobody waits for one that was left to the end."""
    starts = {
        path.stem: path.stat().st_mtime - pl.read_csv(path, separator="\t")["s"].item()
        for path in (default.folder / "results/timings/train_model").glob("*.tsv")
    }
    assert "llama-w48-300" in sorted(starts, key=starts.get)[:2]


def test_training_again_gives_the_same_tables(default, best, tmp_path):
    """Two runs with one seed: a learner of each modality, trained anew, leaves every score as it was."""
    again = default.copy(tmp_path / "again")
    for model in ("gpt2-w16-60", "contrastive-convnext-60"):
        (again.folder / f"results/models/{model}/weights.json").unlink()
        for path in (again.folder / f"results/models/{model}/files").iterdir():
            path.unlink()
        (again.folder / f"results/models/{model}/files").rmdir()
    again.run("--forcerun", "train_model", "--allowed-rules", "train_model", "--", *(
        f"results/models/{model}/weights.json" for model in ("gpt2-w16-60", "contrastive-convnext-60")))  # fmt: skip
    for model in ("gpt2-w16-60", "contrastive-convnext-60"):
        path = f"results/models/{model}/weights.json"
        assert (again.folder / path).read_text() == (default.folder / path).read_text()
