"""Rows of the alignment matrix: which pairs their readers take of them."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prh.alignment import best_layers, representations
from prh.alignment.comparisons import BEST
from prh.alignment.rows import with_models
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
    cut = with_models(pairs("x", others, both), "x", sorted(others[:count]))
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
    with pytest.raises(tables.TableError, match="row of model 'x' has no comparison with 'b'; delete it and run"):
        with_models(pairs("x", "a"), "x", ["a", "b"])


def test_the_table_of_best_layers_has_each_pair_of_the_experiment_once(tmp_path):
    """Row a holds one that is gone; rows b and c hold each other, as after a change of places."""
    rows = write_rows(tmp_path, {"a": ["gone"], "b": ["gone", "c", "a"], "c": ["a", "b", "gone"]})
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
