"""A thousand models and more: no command is longer than Linux allows a single argument to be, 128 KiB."""

import json

import numpy as np
import polars as pl
import pytest

from prh.alignment import comparisons
from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import load
from prh.experiment.plan import Plan
from prh.io import tables
from tests.workflow.conftest import lay_out, words, write_data, write_word_vectors

pytestmark = pytest.mark.slow

MODELS, SAMPLES, DEPTH = 1200, 24, 20
NAMES = [f"a-made-up-model-with-a-name-of-which-paths-get-long-{i:04}" for i in range(MODELS)]


@pytest.fixture(scope="module")
def crowd(repository, tmp_path_factory):
    """The workflow with the tables that 1,200 models would have made, each of them tiny."""
    folder = tmp_path_factory.mktemp("crowd") / "w"
    write_data(folder / "data")
    write_word_vectors(folder / "words", 0)
    settings = {
        "datasets": [{"name": "colours", "source": "local", "path": "data", "image": None}],
        "models": [words(name, "words") for name in NAMES],
        "alignment": {"k": [3], "k_max": DEPTH, "permutations": 0, "subsamples": 0, "splits": 0},
    }
    workflow = lay_out(repository, folder, settings)
    specs = JobSpecs(Plan(load(settings, folder)))
    (folder / "results/datasets/colours/shards").mkdir(parents=True)
    ids = [f"sample {i}" for i in range(SAMPLES)]
    facts = {"dataset": "colours", "samples": tables.digest_of_samples(ids), "layer_names": ["one"], "parameters": 60}
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(1, SAMPLES), (SAMPLES, 1)), axis=1)
    neighbours = (orders[:, :DEPTH] + np.arange(SAMPLES)[:, None]) % SAMPLES
    table = tables.layers_table(ids, [neighbours.astype(np.int32)])
    features = tables.layers_table(ids, [np.ones((SAMPLES, 2), np.float32)])
    best = pl.DataFrame(schema=comparisons.BEST)
    for count, name in enumerate(NAMES):
        for kind, content, spec in (
            ("features", features, specs.features("colours", name)),
            ("neighbours", table, specs.neighbours()),
        ):
            made_by = {"model": name, "spec": spec.digest, **facts}
            tables.write(content, folder / f"results/{kind}/colours/{name}.parquet", made_by)
        row = folder / f"results/alignment/colours/mutual_knn/{name}"
        made_by = {"model": name, "metric": "mutual_knn", "spec": specs.alignment("colours", "mutual_knn").digest}
        pairs = best.clear(count).with_columns(model_x=pl.lit(name), model_y=pl.Series(NAMES[:count], dtype=pl.String))
        tables.write(pairs.to_arrow(), row.with_suffix(".best.parquet"), made_by | facts)
    return workflow


def make(workflow, rule, path):
    """Make one table with its rule alone, as if all others were finished."""
    arguments = ("--allowed-rules", rule, "--", f"results/{path}")
    assert workflow.would_run(*arguments) == {rule: 1}
    workflow.run(*arguments)
    log = next(line for line in workflow.log_of(rule).splitlines() if line.startswith("python "))
    assert "--arguments .snakemake/prh/" in log
    assert len(log) < 2**14
    return pl.read_parquet(workflow.folder / "results" / path)


def test_a_row_of_all_models(crowd):
    scores = make(crowd, "alignment", f"alignment/colours/mutual_knn/{NAMES[-1]}.parquet")
    assert sorted(scores["model_y"]) == NAMES[:-1]
    assert set(scores["score"]) == {1.0}  # all have the same neighbours
    (argument_file,) = (crowd.folder / ".snakemake/prh").glob("*.json")
    assert sum(map(len, json.loads(argument_file.read_text()))) > 2**17


def test_the_tables_of_all_models(crowd):
    make(crowd, "best_layers", "tables/alignment.parquet")
    models = crowd.table("tables/models.parquet")
    assert models["model"].to_list() == NAMES
    assert set(models["layers"]) == {1}


def test_the_scores_of_all_models(crowd):
    assert make(crowd, "scores", "tables/scores.parquet").is_empty()
