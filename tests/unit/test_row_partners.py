"""Which models a row is made of, given the rows that are there: those that fit stay as they are."""

import json
import time

import pyarrow as pa
import pytest

from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import load
from prh.experiment.plan import Plan
from prh.experiment.row_partners import RECORD, RowPartners
from prh.io import tables

TABLE = pa.table({"sample_id": ["s"]})


def specs_of(names, results="results", pooling="auto", **alignment):
    entry = {"modality": "vision", "source": "random", "id": "test_vit", "pooling": pooling}
    entries = [{"name": name, **entry} for name in names]
    alignment = {"metrics": ["mutual_knn", "cka"], "n": [64], **alignment}
    dataset = {"name": "d", "source": "hub", "id": "org/d", "image": "image"}
    settings = {"datasets": [dataset], "models": entries, "alignment": alignment, "results": str(results)}
    return JobSpecs(Plan(load(settings)))


def partners(specs, **options):
    return RowPartners(specs.plan, lambda stage, *names: getattr(specs, stage)(*names), **options)


def rows(specs, stage="alignment", metric="mutual_knn", **options):
    """The models of all rows, as words: their own first."""
    of_rows = partners(specs, **options)
    return [name + "".join(of_rows.of_row(stage, "d", metric, name)) for name in specs.plan.models]


def finish(folder, specs):
    """The tables of a finished experiment, as far as their footers."""
    for name in specs.plan.models_of("d"):
        for kind, spec in (("features", specs.features("d", name)), ("neighbours", specs.neighbours())):
            facts = {**spec.provenance, "model": name, "dataset": "d"}
            tables.write(TABLE, folder / kind / f"d/{name}.parquet", facts)
        for metric in specs.plan.experiment.alignment.metrics:
            rows = {".best": specs.alignment("d", metric), ".sweep": specs.n_sweep("d", metric)}
            for ending, spec in rows.items():
                facts = {**spec.provenance, "model": name, "models": specs.plan.row("d", name)}
                tables.write(TABLE, folder / f"alignment/d/{metric}/{name}{ending}.parquet", facts)


@pytest.fixture
def results(tmp_path):
    finish(tmp_path, specs_of("abcd", tmp_path))
    return tmp_path


STAGES = [("alignment", "mutual_knn"), ("alignment", "cka"), ("n_sweep", "mutual_knn")]


@pytest.mark.parametrize(("stage", "metric"), STAGES)
def test_a_row_keeps_the_models_that_are_gone(results, stage, metric):
    specs = specs_of("ad", results)
    assert rows(specs, stage, metric) == ["a", "dcba"]
    of_rows = partners(specs)
    assert of_rows.removed(stage, "d", metric, "d") == ["c", "b"]
    assert of_rows.removed(stage, "d", metric, "a") == []
    for kind in of_rows.kinds(stage, metric):
        assert len(of_rows.digest(kind, "d", "b")) == 16
    assert rows(specs_of("abcd", results), stage, metric) == ["a", "ba", "cba", "dcba"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("eabcd", ["eabcd", "a", "ba", "cba", "dcba"]),
        ("abecd", ["a", "ba", "ebacd", "cba", "dcba"]),
        ("aecd", ["a", "eacd", "cba", "dcba"]),
        ("dabc", ["dcba", "a", "ba", "cba"]),
        ("da", ["dcba", "a"]),
        ("feabcd", ["fabcd", "efabcd", "a", "ba", "cba", "dcba"]),
    ],
    ids=["inserted first", "inserted", "renamed", "moved", "moved, others removed", "two inserted"],
)
@pytest.mark.parametrize(("stage", "metric"), STAGES)
def test_a_new_model_takes_its_pairs_with_rows_that_are_there(results, stage, metric, names, expected):
    assert rows(specs_of(names, results), stage, metric) == expected


def test_a_row_of_other_settings_keeps_none(results):
    for alignment in ({"k": [3]}, {"k_max": 90}):
        assert rows(specs_of("abd", results, **alignment)) == ["a", "ba", "dba"]
        assert rows(specs_of("abd", results, **alignment), metric="cka") == ["a", "ba", "dcba"]  # knows neither
        assert rows(specs_of("eabd", results, **alignment)) == ["e", "ae", "bae", "dbae"]


@pytest.mark.parametrize("content", [None, b"", b"damaged", "other", "silent"])
@pytest.mark.parametrize("path", ["alignment/d/mutual_knn/d.best.parquet", "neighbours/d/c.parquet",
                                  "neighbours/d/a.parquet"])  # fmt: skip
def test_a_damaged_or_missing_table_keeps_none(results, path, content):
    path = results / path
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        facts = {"other": {**tables.made_by(path), "model": "z", "models": ["z"], "spec": "0" * 16}, "silent": {}}
        if path.name == "c.parquet":  # whatever its settings are: it is in no experiment
            facts["other"] |= {"spec": 1}
        tables.write(TABLE, path, facts[content])
    assert rows(specs_of("abd", results))[-1] == "dba"
    expected = ["a" if path.name != "a.parquet" else "ae", "ba" if path.name != "a.parquet" else "bae", "dbae"]
    assert rows(specs_of("eabd", results))[1:] == expected


@pytest.mark.parametrize("models", [None, "dcba", ["d", "c", 1], ["c", "b", "a"], ["d", "c", "c"], []])
def test_a_row_that_does_not_say_its_models_is_made_again(results, models):
    path = results / "alignment/d/mutual_knn/d.best.parquet"
    tables.write(TABLE, path, {**tables.made_by(path), "models": models})
    assert rows(specs_of("abd", results))[-1] == "dba"


def test_results_that_are_not_there_keep_none(tmp_path):
    assert rows(specs_of("ab", tmp_path / "none")) == ["a", "ba"]


@pytest.mark.parametrize(("stage", "metric"), STAGES)
def test_jobs_do_as_the_run_has_decided(results, stage, metric):
    """While the row of e is made, the rows of c and d are there no more: they are made again for another reason."""
    specs = specs_of("aebcd", results)
    partners(specs).record()
    decided = rows(specs, stage, metric)
    assert decided == ["a", "eabcd", "ba", "cba", "dcba"]
    for name in "cd":
        for path in (results / f"alignment/d/{metric}").glob(f"{name}.*"):
            path.unlink()
    assert rows(specs, stage, metric, in_job=True) == decided
    assert rows(specs, stage, metric) == ["a", "eab", "ba", "cbea", "dcbea"]  # the next run is free to decide anew


@pytest.mark.parametrize(
    ("names", "metric", "settings"),
    [
        ("abcde", "cka", {"pooling": "mean"}),
        ("aebcd", "cka", {"pooling": "mean"}),
        ("aebcd", "mutual_knn", {"k": [3]}),
        ("aebcd", "mutual_knn", {"k_max": 90}),
    ],
)
def test_what_was_decided_for_another_experiment_does_not_count(results, names, metric, settings):
    partners(specs_of("aebcd", results)).record()
    specs = specs_of(names, results, **settings)
    expected = ["".join(specs.plan.row("d", name)) for name in names]
    assert rows(specs, metric=metric, in_job=True) == rows(specs, metric=metric) == expected


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'{"alignment/d/mutual_knn": 3}', b"\xff", b"[" * 100_000])
def test_a_damaged_record_is_no_record(results, content):
    (results / RECORD).write_bytes(content)
    specs = specs_of("eabcd", results)
    assert rows(specs, in_job=True) == rows(specs) == ["eabcd", "a", "ba", "cba", "dcba"]
    partners(specs).record()
    assert {"alignment/d/mutual_knn", "alignment/d/cka", "n_sweep/d/mutual_knn"} == set(
        json.loads((results / RECORD).read_text())
    )


def test_two_experiments_may_share_results(results):
    """The record keeps what it has of other data sets; of the same one, each decides anew."""
    (results / RECORD).write_text('{"alignment/other/cka": {"of": "x", "rows": {}}}')
    for names in ("abcd", "dcba", "abcd"):
        partners(specs_of(names, results)).record()
        assert [set(row) for row in rows(specs_of(names, results))] == [
            set("abcd"[: "abcd".index(name) + 1]) for name in names
        ]
    assert json.loads((results / RECORD).read_text())["alignment/other/cka"] == {"of": "x", "rows": {}}


def test_a_plan_of_many_models_takes_no_time(tmp_path, monkeypatch):
    """Of a finished experiment no row is looked at; with a change to the list, the footer of each, once."""
    names = [f"m{i}" for i in range(80)]
    specs = specs_of(names, tmp_path)
    finish(tmp_path, specs)
    looked_at, made_by = [], tables.made_by
    monkeypatch.setattr(tables, "made_by", lambda path: looked_at.append(path) or made_by(path))

    def seconds(specs):
        looked_at.clear()
        started = time.perf_counter()
        of_rows = partners(specs)
        others = [of_rows.of_row(stage, "d", metric, name) for stage, metric in STAGES for name in specs.plan.models]
        of_rows.record()
        assert len(set(looked_at)) == len(looked_at)
        return time.perf_counter() - started, sum(map(len, others))

    every_pair = 3 * 80 * 79 // 2
    taken, pairs = seconds(specs)
    assert (taken < 5, pairs, len(looked_at)) == (True, every_pair, 80 * (3 + 2))
    taken, pairs = seconds(specs)
    assert (taken < 0.5, pairs, len(looked_at)) == (True, every_pair, 0)
    taken, pairs = seconds(specs_of(names[1:], tmp_path))
    assert (taken < 5, pairs, len(looked_at)) == (True, every_pair, 79 * 3 + 80 * 2)
