"""A metric, a modality, sources of all kinds and a study, each a file in a folder of the user's, run for real."""

import os
import re
import subprocess
import sys

import polars as pl
import pytest
import yaml

from tests.workflow.conftest import WORDS, lay_out, vision, write_data

pytestmark = pytest.mark.slow

METRIC = '''
"""A metric of one's own."""
import numpy as np

import prh
from beside import SHARE


@prh.metric(summary="share of samples with one nearest neighbour", needs="neighbours", symmetric=True, bounded=True,
            per_query=True, chance=lambda k, n: 1 / (n - 1))
def same_nearest(x, y):
    return SHARE * np.array([[np.mean(a[:, 0] == b[:, 0]) for b in y.knn(1)] for a in x.knn(1)])
'''
MODALITY = '''
"""A modality of one's own: which letters a caption has, by a rule that learned nothing."""
from typing import Literal

import numpy as np

import prh


class Letters(prh.ModelEntry):
    modality: Literal["letters"]
    alphabet: str = "abcdefghijklmnopqrstuvwxyz"


class Counts:
    layer_names, parameters = ["counts", "shares"], None

    def __init__(self, alphabet):
        self.alphabet = alphabet

    def encode(self, samples):
        texts = [" ".join(captions) for captions in samples["captions"].to_pylist()]
        counts = np.array([[text.count(letter) for letter in self.alphabet] for text in texts], float)
        return [counts, counts / counts.sum(1, keepdims=True)]


def load(entry, root, device, dtype):
    return Counts(entry.alphabet)


prh.register(prh.Modality("letters", entry=Letters, load=load, reads=("captions",), colour="#CC79A7"))
'''
SOURCE = '''
"""A source of data of one's own: sentences that are made up."""
import json
from typing import Literal

import prh


class Generated(prh.DatasetEntry):
    source: Literal["generated"]
    image: None = None
    words: list[str]


def fetch(entry, folder, **how):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"{first} {second}"} for first in entry.words for second in entry.words]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
    return folder


prh.register(prh.Source("generated", entry=Generated, fetch=fetch))
'''
SHELF = '''
"""Sources of one's own of weights, of texts and of tasks."""
import json
from typing import Literal

import prh
import torch
from safetensors.torch import save_file


class Shelved(prh.TextEntry):
    source: Literal["shelf"]
    words: list[str]


class Quiz(prh.TaskEntry):
    source: Literal["shelf"]


def weights(entry, folder, **how):
    folder.mkdir(parents=True, exist_ok=True)
    words = entry.id.split("+")
    vectors = torch.randn(len(words), 6, generator=torch.Generator().manual_seed(entry.seed))
    save_file({"vectors": vectors}, folder / "vectors.safetensors")
    (folder / "vocab.txt").write_text("\\n".join(words))
    return folder, {"revision": "third board"}


def text(entry, folder, **how):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text("\\n".join(entry.words))
    return folder / "text.txt"


def task(entry, folder, **how):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{entry.name}.yaml").write_text(json.dumps({"task": entry.name}))
    return folder


prh.register(prh.Source("shelf", of="models", fetch=weights, mistake=lambda e: None if e.id else "give it an 'id'"))
prh.register(prh.Source("shelf", of="texts", entry=Shelved, fetch=text))
prh.register(prh.Source("shelf", of="harness", entry=Quiz, fetch=task))
'''
STUDY = '''
"""A study of one's own: in one file, which draws with whatever it likes."""
from matplotlib.figure import Figure

import prh


def targets(plan):
    for dataset, measure, models in plan.panels():
        yield prh.Target(f"{dataset}/{measure}/spread", rows=plan.rows_of(dataset, measure), table={"least": 0.0})


def table(best, *, least):
    return prh.StudyTables(best.filter(best["score"] >= least).select("model_x", "model_y", "score"))


def draw(table):
    figure = Figure()
    figure.subplots().hist(table["score"])
    return figure


prh.register(prh.Study("spread", targets=targets, reads=("best",), table=table, draw=draw))
'''


@pytest.fixture(scope="module")
def own(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_data(folder / "data")
    experiment = {
        "datasets": [
            {"name": "colours", "source": "local", "path": "data"},
            {"name": "made", "source": "generated", "words": WORDS[:5], "use": "control"},
        ],
        "models": [
            vision("vit", "test_vit"),
            vision("resnet", "test_resnet"),
            {
                "name": "words",
                "modality": "language",
                "library": "word_vectors",
                "source": "shelf",
                "id": "+".join(WORDS),
            },
            {"name": "vowels", "modality": "letters", "alphabet": "aeiou"},
        ],
        "alignment": {
            "metrics": ["same_nearest"],
            "k": [3],
            "k_max": 24,
            "permutations": 19,
            "subsamples": 0,
            "splits": 0,
        },
        "texts": [{"name": "read", "source": "shelf", "words": ["a red circle", "", "a blue one"], "documents": 2}],
        "harness": [{"name": "quiz", "source": "shelf"}],
        "plugins": ["own/my metric.py", "own/letters.py", "own/generated.py", "own/shelf.py", "my_studies.spread"],
    }
    workflow = lay_out(repository, folder, experiment)
    for name, text in {"own/my metric.py": METRIC, "own/beside.py": "SHARE = 1.0\n", "own/letters.py": MODALITY, "own/generated.py": SOURCE, "own/shelf.py": SHELF, "my_studies/__init__.py": "",
                       "my_studies/spread.py": STUDY}.items():  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    workflow.run()
    return workflow


def test_what_comes_from_outside_runs_through_the_workflow(own):
    best = own.table("tables/alignment.parquet")
    assert set(best["metric"]) == {"same_nearest"}
    assert set(best.filter(best["dataset"] == "made")["model_y"]) == {"words"}
    assert own.table("features/made/vowels.parquet").height == 25
    assert (own.folder / "results/datasets/made/source/metadata.jsonl").is_file()
    best = best.filter(best["dataset"] == "colours")
    letters = best.filter((best["modality_x"] == "letters") | (best["modality_y"] == "letters"))
    assert set(letters["model_x"]) | set(letters["model_y"]) == {"vit", "resnet", "words", "vowels"}
    features = own.table("features/colours/vowels.parquet")
    assert [features[f"layer_0{i}"].dtype.shape for i in range(2)] == [(5,), (5,)]
    assert not (own.folder / "results/models/vowels").exists(), "it has no weights"
    drawn = (own.folder / "results/figures/colours/same_nearest/alignment_matrix.svg").read_text()
    assert "#cc79a7" in drawn.lower()
    assert best["score"].is_between(0, 1).all()
    assert best["chance"].unique().to_list() == [1 / 23]
    spread = pl.read_parquet(own.folder / "results/tables/colours/same_nearest/spread.parquet")
    assert spread.height == best.height
    assert (own.folder / "results/figures/colours/same_nearest/spread.png").stat().st_size > 1000
    assert own.would_run() == {}


def test_weights_texts_and_tasks_come_from_sources_from_outside(own):
    assert '"revision": "third board"' in (own.folder / "results/models/words/weights.json").read_text()
    own.snakemake("--cores", "2", "--", "results/texts/read.jsonl", "results/tasks/quiz/quiz.yaml")
    assert (own.folder / "results/texts/read.jsonl").read_text() == '"a red circle"\n"a blue one"\n'
    assert (own.folder / "results/tasks/quiz/quiz.yaml").read_text() == '{"task": "quiz"}'


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("models", {"name": "bare", "modality": "vision", "source": "shelf"}, "models, entry 'bare': give it an 'id'"),
        ("models", {"name": "far", "modality": "vision", "source": "cellar"}, "'cellar' is not one of .*'hub'.*'shelf'"),
        ("texts", {"name": "far", "source": "cellar"}, "texts, entry 'far': unknown 'source' 'cellar'; known: .*'shelf'"),
        ("texts", {"name": "mute", "source": "shelf"}, "texts, entry 'mute': the key 'words' is missing"),
        ("harness", {"name": "far", "source": "cellar"}, "unknown 'source' 'cellar'; known: .*'shelf'"),
    ],
)  # fmt: skip
def test_an_entry_that_does_not_fit_its_source_is_refused(own, key, entry, message):
    before = own.experiment[key]
    own.experiment[key] = [*before, entry]
    try:
        done = own.snakemake("-n", check=False)
    finally:
        own.experiment[key] = before
    assert done.returncode
    assert re.search(message, done.stdout + done.stderr), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "jobs"),
    [
        ("own/my metric.py", "A metric of one's own.", "My metric.", {}),
        ("own/my metric.py", "a[:, 0] == b[:, 0]", "b[:, 0] == a[:, 0]", {"alignment": 6, "best_layers": 1}),
        ("own/beside.py", "1.0", "0.5", {"alignment": 6, "best_layers": 1}),
        ("own/letters.py", "A modality of one's own", "My modality", {}),
        ("own/letters.py", "text.count(letter)", "text.lower().count(letter)",
         {"features": 2, "neighbours": 2, "alignment": 2, "best_layers": 1}),
        ("own/generated.py", "A source of data of one's own", "My data", {}),
        ("own/generated.py", "{first} {second}", "{second} {first}",
         {"download_dataset": 1, "shard_dataset": 1, "features": 2, "neighbours": 2, "alignment": 2, "best_layers": 1}),
        ("own/shelf.py", "manual_seed(entry.seed)", "manual_seed(entry.seed + 1)",
         {"download_model": 1, "features": 2, "neighbours": 2, "alignment": 4, "best_layers": 1}),
        ("my_studies/spread.py", "figure.subplots().hist(", "figure.subplots().plot(", {"study": 2, "draw": 2}),
    ],
)  # fmt: skip
def test_a_plugin_is_watched_as_the_code_of_the_workflow_is(own, file, old, new, jobs):
    path = own.folder / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        would = own.would_run()
        studies = {"study": 4, "draw": 9} if "alignment" in jobs else {}
        assert would == jobs | studies
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("plugin", "text", "message"),
    [
        ("nowhere.py", None, r"plugins: nowhere\.py does not exist"),
        ("not_a_module", None, r"plugins: not_a_module cannot be loaded \(ModuleNotFoundError"),
        ("wrong.py", "import prh\nprh.metric(\n", r"plugins: wrong\.py cannot be loaded \(SyntaxError"),
        ("fails.py", "x = 1\ny = x / 0\n", r"plugins: fails\.py cannot be loaded, line 2 \(ZeroDivisionError: division"),
        ("leaves.py", "import sys\nsys.exit('bye')\n", r"plugins: leaves\.py cannot be loaded, line 2 \(SystemExit: bye\)"),
        ("taken.py", "import prh\n@prh.metric(summary='', needs='features', symmetric=True, bounded=True)\n"
         "def cka(x, y): pass\n", "there is a metric 'cka' already"),
        ("smells.py", "import prh\nprh.register(prh.Modality('smell', prh.ModelEntry, print, reads=('odour',)))\n",
         "modality 'smell' reads 'odour'; it can read image, captions"),
        ("sees.py", "import prh\nprh.register(prh.Modality('vision', prh.ModelEntry, print))\n",
         "there is a modality 'vision' already"),
        ("hubs.py", "import prh\nprh.register(prh.Source('hub', entry=prh.DatasetEntry, fetch=print))\n",
         "there is a source 'hub' of datasets already"),
        ("sells.py", "import prh\nprh.register(prh.Source('mine', of='shops', fetch=print))\n",
         "source 'mine' is of 'shops'; a source is of datasets, models, texts, harness"),
        ("registers.py", "import prh\nprh.register(print)\n", "cannot be registered; it must be a Modality or a"),
        ("reads.py", "import prh\nprh.register(prh.Study('s', lambda plan: (), reads=('tea',), draw=print))\n",
         "study 's' reads 'tea'; it can read best, models"),
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_loaded_is_named_before_any_job(own, plugin, text, message):
    if text is not None:
        (own.folder / plugin).write_text(text)
    before = own.experiment["plugins"]
    own.experiment["plugins"] = [*before, plugin]
    try:
        done = own.snakemake("-n", check=False)
    finally:
        own.experiment["plugins"] = before
    said = done.stdout + done.stderr
    assert done.returncode
    assert re.search(message, said), said
    assert "Traceback" not in said


def test_prh_plan_imports_no_plugin_unless_it_is_told_to(own):
    """It is how one looks at a stranger's experiment."""
    (own.folder / "plugged.yaml").write_text(yaml.safe_dump(own.experiment))
    command = [sys.executable, "-m", "prh", "plan", "--offline", "--tflops", "1", "--configfile", "plugged.yaml"]
    environment = {**os.environ, **own.environment}
    refused = subprocess.run(command, cwd=own.folder, env=environment, capture_output=True, text=True)
    assert refused.returncode
    assert (
        "names plugins, which run code (own/my metric.py, own/letters.py, own/generated.py, own/shelf.py, my_studies.spread); read them"
        in refused.stderr
    )
    assert subprocess.run([*command, "--plugins"], cwd=own.folder, env=environment).returncode == 0
