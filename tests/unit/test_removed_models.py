"""Which removed models an existing row keeps: those that it was made of, while nothing else about it has changed."""

import time

import pyarrow as pa
import pytest

from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import load
from prh.experiment.plan import Plan
from prh.experiment.removed_models import RemovedModels
from prh.io import tables

TABLE = pa.table({"sample_id": ["s"]})


def specs_of(names, results="results", **alignment):
    entries = [{"name": name, "modality": "vision", "source": "random", "id": "test_vit"} for name in names]
    alignment = {"metrics": ["mutual_knn", "cka"], "n": [64], **alignment}
    dataset = {"name": "d", "source": "hub", "id": "org/d", "image": "image"}
    settings = {"datasets": [dataset], "models": entries, "alignment": alignment, "results": str(results)}
    return JobSpecs(Plan(load(settings)))


def removed(specs):
    return RemovedModels(specs.plan, lambda stage, *names: getattr(specs, stage)(*names))


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
    models = removed(specs_of("ad", results))
    assert models.of_row(stage, "d", metric, "d") == ("c", "b")
    assert models.of_row(stage, "d", metric, "a") == ()
    for kind in models.kinds(stage, metric):
        assert len(models.digest(kind, "d", "b")) == 16
    assert removed(specs_of("abcd", results)).of_row(stage, "d", metric, "d") == ()


@pytest.mark.parametrize("names", ["aed", "dac", "da", "abdc"], ids=["renamed", "moved", "swapped", "swapped, all"])
def test_a_row_that_lacks_a_model_or_has_one_too_many_keeps_none(results, names):
    models = removed(specs_of(names, results))
    assert {models.of_row("alignment", "d", "mutual_knn", name) for name in names} == {()}


def test_a_row_of_other_settings_keeps_none(results):
    assert removed(specs_of("abd", results, k=[3])).of_row("alignment", "d", "mutual_knn", "d") == ()
    assert removed(specs_of("abd", results, k=[3])).of_row("alignment", "d", "cka", "d") == ("c",)  # knows no k
    assert removed(specs_of("abd", results, k_max=90)).of_row("alignment", "d", "mutual_knn", "d") == ()
    assert removed(specs_of("abd", results, k_max=90)).of_row("alignment", "d", "cka", "d") == ("c",)


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
    assert removed(specs_of("abd", results)).of_row("alignment", "d", "mutual_knn", "d") == ()


def test_results_that_are_not_there_keep_none(tmp_path):
    assert removed(specs_of("ab", tmp_path / "none")).of_row("alignment", "d", "mutual_knn", "b") == ()


def test_a_plan_of_many_models_takes_no_time(tmp_path):
    """Of a finished experiment no row is looked at; with a model removed, the footer of each, once."""
    names = [f"m{i}" for i in range(80)]
    specs = specs_of(names, tmp_path)
    finish(tmp_path, specs)

    def seconds(specs):
        models = removed(specs)
        rows = [(stage, "d", metric, name) for stage, metric in STAGES for name in specs.plan.models]
        started = time.perf_counter()
        kept = [models.of_row(*row) for row in rows]
        return time.perf_counter() - started, sum(map(len, kept))

    taken, kept = seconds(specs)
    assert (taken < 0.5, kept) == (True, 0)
    taken, kept = seconds(specs_of(names[1:], tmp_path))
    assert (taken < 5, kept) == (True, 3 * 79)
