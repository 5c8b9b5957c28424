"""Rows of the alignment matrix: which pairs their readers take of them."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from prh.alignment import best_layers, comparisons, representations
from prh.alignment.comparisons import BEST
from prh.alignment.rows import with_models
from prh.core.metrics import METRICS, Representation
from prh.io import tables
from prh.studies import reading

FACTS = {"dataset": "d", "metric": "cka", "samples": "s"}
MODELS = pl.DataFrame([{"model": name} for name in "abc"], schema=best_layers.MODELS)


def pairs(model, others, both=False):
    """A row: the pairs of a model with others, both ways round for a metric that is not symmetric."""
    named = [(model, other) for other in others]
    named = [pair for x, y in named for pair in ((x, y), (y, x))] if both else named
    scores = [{"model_x": x, "model_y": y, "score": i / 10, "p": 0.1} for i, (x, y) in enumerate(named)]
    return pl.DataFrame(scores, schema=BEST)


def write_rows(folder, rows):
    """Rows {model: the others in it} as tables; the paths, and no digests."""
    for model, others in rows.items():
        path = folder / "d/cka" / f"{model}.best.parquet"
        tables.write(pairs(model, others).to_arrow(), path, FACTS | {"model": model})
        yield path, None


@given(st.permutations("abcde"), st.integers(0, 5), st.booleans())
def test_a_row_is_cut_to_the_earlier_models_in_their_order(others, count, both):
    cut = with_models({"x": pairs("x", others, both)}, "x", sorted(others[:count]))
    expected = sorted(others[:count], reverse=True)
    if both:
        assert cut.select("model_x", "model_y").rows() == [
            pair for other in expected for pair in (("x", other), (other, "x"))
        ]
    else:
        assert cut["model_y"].to_list() == expected
    assert cut.schema == pl.Schema(BEST)
    original = {row[:2]: row for row in pairs("x", others, both).rows()}
    assert all(row == original[row[:2]] for row in cut.rows())


def test_a_row_without_an_earlier_model_is_refused():
    rows = {"x": pairs("x", "a"), "a": pairs("a", "x"), "b": pairs("b", "a")}
    with pytest.raises(tables.TableError, match="row of model 'x' has no comparison with 'b'; delete it and run"):
        with_models(rows, "x", ["a", "b"])


METRICS_OF_BOTH_KINDS = ["mutual_knn", "cka", "svcca", "cycle_knn"]


def representation(name, layers):
    """A model of ``layers`` random layers that has something in common with all others, one of them constant."""
    rng = np.random.default_rng([layers, *name.encode()])
    shared = np.random.default_rng(0).normal(size=(40, 4))
    mixed = [(shared @ rng.normal(size=(4, 6)) + rng.normal(size=(40, 6))).astype("float32") for _ in range(layers)]
    return Representation(name, [np.ones((40, 6), "float32"), *mixed])


def rows_of(of, metric):
    """The rows of models: all layer pairs, and the best ones. ``of``: the others in the row of each."""
    how = comparisons.Settings((3, 5), 20, 5, 2, 0.05, 0)
    models = {name: representation(name, 2 + number) for number, name in enumerate(sorted(of))}
    for model, others in of.items():
        scores, best = comparisons.row(models[model], [models[name] for name in others], metric, how)
        yield model, (pl.from_arrow(scores), best)


@pytest.mark.parametrize("metric", METRICS_OF_BOTH_KINDS)
@pytest.mark.parametrize("order", ["abc", "cab", "bca"])
def test_a_pair_is_the_same_from_the_row_of_either_model(metric, order):
    a, b, c = order
    first = dict(rows_of({a: "", b: a, c: b + a}, metric))
    last = dict(rows_of({a: b + c, b: c, c: ""}, metric))
    for table in (0, 1):
        for model, earlier in ((b, [a]), (c, [a, b])):
            expected = with_models({name: row[table] for name, row in first.items()}, model, earlier)
            found = with_models({name: row[table] for name, row in last.items()}, model, earlier)
            assert_frame_equal(found, expected, check_exact=True)
            assert_frame_equal(found, first[model][table], check_exact=True)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_pair_of_a_sweep_is_the_same_from_the_row_of_either_model(symmetric, monkeypatch):
    metric = METRICS["mutual_knn"]
    monkeypatch.setitem(METRICS, "mutual_knn", dataclasses.replace(metric, symmetric=symmetric))
    layers = {name: representation(name, 3).layers for name in "ab"}
    how = comparisons.Settings((3, 5), 20, 0, 0, 0.05, 0)
    a, b = (
        comparisons.sweep_row(
            comparisons.SweptModel(x, layers[x]), [comparisons.SweptModel(y, layers[y])], "mutual_knn", [20, 40], how
        )
        for x, y in ("ab", "ba")
    )
    assert len(b) == (4 if symmetric else 8)
    assert_frame_equal(with_models({"a": a, "b": b.clear()}, "b", ["a"]), b, check_exact=True)


def test_the_table_of_best_layers_has_each_pair_of_the_experiment_once(tmp_path):
    """Row a holds one that is gone; rows b and c hold each other; row a holds c, which is after it."""
    rows = write_rows(tmp_path, {"a": ["gone", "c"], "b": ["gone", "c", "a"], "c": ["b", "gone"]})
    best = best_layers.collect(best_layers.read_rows(rows, {"d": "s"}), MODELS)
    assert best.select("model_x", "model_y").rows() == [("b", "a"), ("c", "b"), ("c", "a")]
    assert best["q"].to_list() == pytest.approx([0.1] * 3)  # over three pairs, not nine


def test_a_row_of_best_layers_that_lacks_a_model_is_named(tmp_path):
    with pytest.raises(tables.TableError, match="has no comparison with 'b'"):
        best_layers.read_rows(write_rows(tmp_path, {"a": [], "b": ["a"], "c": ["a"]}), {})


def test_studies_read_the_pairs_of_the_experiment_only(tmp_path):
    scores = {"layer_x": 0, "layer_y": 1, "k": None, "n": None, "score": 0.5}
    paths = []
    for model, others in {"a": ["gone"], "b": ["gone", "a"]}.items():
        content = [{"model_x": model, "model_y": other, **scores} for other in others]
        table = pl.DataFrame(content, schema=pl.from_arrow(tables.ALIGNMENT.empty_table()).schema)
        paths.append(tmp_path / f"{model}.parquet")
        tables.write(table.to_arrow(), paths[-1], FACTS | {"model": model})
    frames, _ = reading.frames(["rows", "rows"], paths, [], {"dataset": "d", "metric": "cka", "k": None})
    assert frames["rows"].select("model_x", "model_y").rows() == [("b", "a")]


@pytest.mark.parametrize(("samples", "same"), [(["1", "2"], True), (["2", "1"], False), (["1"], False)])
def test_a_table_of_other_samples_is_refused_or_left_out(tmp_path, samples, same):
    path = tmp_path / "b.parquet"
    tables.write(pl.DataFrame({"sample_id": samples}).to_arrow(), path, {})
    assert representations.has_samples(path, ["1", "2"], tmp_path / "a", required=False) is same
    if not same:
        with pytest.raises(tables.TableError, match="do not hold the same samples"):
            representations.has_samples(path, ["1", "2"], tmp_path / "a")
