"""Models that functions of the user's build, run for real; what is watched of them."""

import pytest

from tests.unit.test_python_source import LANGUAGE, VISION
from tests.workflow.conftest import lay_out, vision, write_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("factories")
    write_data(folder / "data")
    (folder / "own").mkdir()
    (folder / "own/nets.py").write_text(VISION)
    (folder / "own/beside.py").write_text(LANGUAGE)
    (folder / "own/texts.py").write_text("from beside import build\n")
    built = {"source": "python"}
    experiment = {
        "datasets": [{"name": "colours", "source": "local", "path": "data", "shard_size": 10}],
        "models": [
            vision("vit"),
            {
                **built,
                "name": "net",
                "modality": "vision",
                "factory": "own/nets.py:build",
                "factory_args": {"width": 6},
            },
            {**built, "name": "bytes", "modality": "language", "factory": "own/texts.py:build", "template": "<{caption}>"},
        ],
        "alignment": {"metrics": ["cka"], "k": [3], "k_max": 23, "permutations": 9, "subsamples": 0, "splits": 0},
    }  # fmt: skip
    workflow = lay_out(repository, folder, experiment)
    workflow.run()
    return workflow


def test_they_are_compared_like_any_other_model(own):
    best = own.table("tables/alignment.parquet")
    assert set(best["model_x"]) | set(best["model_y"]) == {"vit", "net", "bytes"}
    features = own.table("features/colours/net.parquet")
    assert [features[f"layer_0{i}"].dtype.shape for i in range(2)] == [(6,), (6,)]
    assert "from the factory own/nets.py:build, equal in two builds" in own.log_of("features")
    assert own.would_run() == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "jobs"),
    [
        ("own/nets.py", "import torch", "import torch  # a comment", {}),
        ("own/nets.py", ", nn.ReLU()", ", nn.GELU()", {"features": 1, "alignment": 2, "best_layers": 1}),
        ("own/beside.py", "import torch", '"""Words."""\nimport torch', {}),
        ("own/beside.py", ".tanh()", ".sin()", {"features": 1, "alignment": 1, "best_layers": 1}),
    ],
)
def test_code_is_watched_and_comments_are_not(own, file, old, new, jobs):
    path = own.folder / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    try:
        would = own.would_run()
    finally:
        path.write_text(before)
    assert {rule: count for rule, count in would.items() if rule not in ("study", "draw")} == jobs


def test_an_argument_runs_the_models_features_and_what_follows(own):
    own.experiment["models"][1]["factory_args"]["width"] = 5
    try:
        would = own.would_run()
    finally:
        own.experiment["models"][1]["factory_args"]["width"] = 6
    assert would["features"] == 1
    assert "download_model" not in would
