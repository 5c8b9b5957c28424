"""The real experiment on a few samples: every model with its real weights, every table, every figure."""

import pytest
import yaml

from tests.workflow.conftest import lay_out, small_real_mini

pytestmark = pytest.mark.slow


def test_real_mini_runs_to_its_figures(repository, real, tmp_path):
    workflow = lay_out(repository, tmp_path / "prh", small_real_mini(repository, tmp_path / "prh"))
    workflow.run()
    best = workflow.table("tables/alignment.parquet").filter(dataset="flickr1k")
    trained = best.filter(model_x="mobilenet_v1_0.50", model_y="mobilenet_v1_0.25")
    assert trained["n"].item() == 64
    assert trained["score"].item() > 0.4
    assert trained["score"].item() > trained["threshold"].item()
    figures = sorted(path.name for path in (workflow.folder / "results/figures/flickr1k").rglob("*.png"))
    assert {"alignment_matrix.png", "cross_modal.png", "layer_matrix_strongest.png"} <= set(figures)
    assert {"figure2.png", "figure3.png", "figure4.png"} <= set(figures)
    assert workflow.would_run() == {}


def test_without_its_data_the_experiment_says_so(repository, tmp_path):
    settings = yaml.safe_load((repository / "experiments/real-mini.yaml").read_text())
    workflow = lay_out(repository, tmp_path / "inner" / "copy", settings)
    done = workflow.snakemake("--cores", "1", check=False)
    assert done.returncode != 0
    assert "data set 'flickr1k': path ../shared/real/flickr1k does not exist" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
