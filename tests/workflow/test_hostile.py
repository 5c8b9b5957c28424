"""Names and paths with a meaning for a shell or for Snakemake: each runs to its end, or is refused in one sentence before
any job. None of them runs a command, and none writes where nobody asked for it.
"""

import shutil

import pytest

from tests.workflow.conftest import lay_out, words, write_data, write_word_vectors

pytestmark = pytest.mark.slow

RUN = [
    *("a b", "it's", 'say "hi"', "a&touch PWNED", "a;touch PWNED", "a`touch PWNED`", "a|touch PWNED", "(a)", "a#b"),
    *("a!b", "*", "[ab]", "a?", "a=b", "a,b:c", "%s", "a\\b", "@a", "ünï 日本"),
]
"""What runs, as the folder of results and as any path."""
RUN_AS_PATH = [*RUN, "$(touch PWNED)", "$HOME", "~", "~root", "-x", "--help", " a"]
REFUSED = ["a{b}", "{dataset}", "<results>", "a\nb", "a\tb", "a\u2028b", "a\x1bb"]
REFUSED_AS_RESULTS = [
    *REFUSED,
    *RUN_AS_PATH[len(RUN) :],
    "",
    ".",
    "./",
    "/",
    "..",
    "a/..",
    ".snakemake",
    "s3://a/b",
    "a ",
]
MONSTER = "/".join(RUN)


def small(repository, folder):
    """Two models without networks on one data set, compared as cheaply as can be."""
    write_data(folder / "data")
    for seed in (0, 1):
        write_word_vectors(folder / f"words{seed}", seed)
    comparison = {"k": [3], "k_max": 20, "permutations": 0, "subsamples": 0, "splits": 0}
    settings = {
        "datasets": [{"name": "colours", "source": "local", "path": "data", "image": None}],
        "models": [words("words", "words0"), words("other", "words1")],
        "alignment": comparison,
    }
    return lay_out(repository, folder, settings)


def assert_nothing_else(workflow, before):
    assert not list(workflow.folder.parent.rglob("PWNED"))
    made = {path.name for path in workflow.folder.iterdir()} - before
    assert made <= {"tiny.yaml", "tiny.lock.yaml", ".snakemake"}


@pytest.mark.parametrize("results", [MONSTER, pytest.param("my data v2", marks=pytest.mark.whole)])
def test_results_lie_in_a_folder_of_any_name(repository, tmp_path, results):
    workflow = small(repository, tmp_path / "w")
    mine = workflow.folder / "my"
    mine.write_text("my only copy")
    workflow.experiment["results"] = results
    before = {path.name for path in workflow.folder.iterdir()} | {results.split("/")[0]}
    workflow.run()
    assert (workflow.folder / results / "tables/alignment.parquet").is_file()
    assert (workflow.folder / results / "tables/timings.parquet").is_file()
    assert list((workflow.folder / results / "figures").rglob("*.png"))
    assert mine.read_text() == "my only copy"
    assert_nothing_else(workflow, before)
    assert workflow.would_run() == {}


@pytest.mark.parametrize("results", REFUSED_AS_RESULTS)
def test_results_of_other_meanings_are_refused(repository, tmp_path, results):
    workflow = small(repository, tmp_path / "w")
    before = {path.name for path in workflow.folder.iterdir()}
    workflow.experiment["results"] = results
    done = workflow.snakemake("--cores", "1", check=False)
    assert done.returncode
    assert f"results is {results!r}, which" in done.stderr
    assert "Traceback" not in done.stderr
    assert "name another folder" in done.stderr
    assert_nothing_else(workflow, before)


def test_paths_of_any_name_run(repository, tmp_path):
    """A data set, a model, a text and a task in folders of each name."""
    workflow = small(repository, tmp_path / "w")
    settings, folder = workflow.experiment, workflow.folder
    settings |= {"texts": [], "harness": []}
    wanted = []
    for i, name in enumerate(RUN_AS_PATH):
        shutil.copytree(folder / "data", folder / f"d{i}" / name)
        shutil.copytree(folder / "words0", folder / f"m{i}" / name)
        (folder / f"t{i}").mkdir()
        (folder / f"t{i}" / f"{name}.txt").write_text("one\ntwo\n")
        (folder / f"h{i}" / name).mkdir(parents=True)
        (folder / f"h{i}" / name / f"task{i}.yaml").write_text(f"task: task{i}\n")
        settings["datasets"].append({"name": f"d{i}", "source": "local", "path": f"d{i}/{name}", "image": None})
        settings["models"].append(words(f"m{i}", f"m{i}/{name}"))
        settings["texts"].append({"name": f"t{i}", "source": "local", "path": f"t{i}/{name}.txt"})
        settings["harness"].append({"name": f"task{i}", "source": "local", "path": f"h{i}/{name}"})
        wanted += [f"datasets/d{i}/source.json", f"models/m{i}/weights.json", f"texts/t{i}.jsonl"]
        wanted += [f"tasks/task{i}/task{i}.yaml"]
    wanted += ["datasets/d4/manifest.json", "features/colours/m4.parquet"]
    before = {path.name for path in folder.iterdir()} | {"results"}
    workflow.run("--", *(f"results/{path}" for path in wanted))
    assert [path for path in wanted if not (folder / "results" / path).is_file()] == []
    assert_nothing_else(workflow, before)


@pytest.mark.parametrize("name", REFUSED)
def test_paths_of_other_meanings_are_refused(repository, tmp_path, name):
    workflow = small(repository, tmp_path / "w")
    shutil.copytree(workflow.folder / "data", workflow.folder / name)
    before = {path.name for path in workflow.folder.iterdir()}
    workflow.experiment["datasets"][0]["path"] = name
    done = workflow.snakemake("--cores", "1", check=False)
    assert done.returncode
    assert f"data set 'colours': path {name!r} has a" in done.stderr
    assert "Traceback" not in done.stderr
    assert_nothing_else(workflow, before)
