"""What ``prh show`` says of a results folder."""

import polars as pl
import pytest

from prh.alignment import comparisons
from prh.bank.places import BankError
from prh.bank.showing import show
from prh.io import tables


def pair(x, y, calibrated, **more):
    values = {"model_x": x, "model_y": y, "score": 0.1 + calibrated, "calibrated": calibrated, "threshold": 0.1,
              "p": 0.02, "low": 0.2, "high": 0.3, "k": 10, "n": 1024, "layer_x": 3, "layer_y": 7}  # fmt: skip
    return {**dict.fromkeys(comparisons.BEST), **values, **more}


def of(best, dataset, metric):
    """The table of alignments as the workflow collects it, with q."""
    return best.with_columns(dataset=pl.lit(dataset), metric=pl.lit(metric), q=pl.lit(0.03))


@pytest.fixture
def results(tmp_path):
    rows = [pair("a", "b", 0.2), pair("b", "c", 0.5, layer_x=1), pair("c", "a", 0.3, low=None, high=None)]
    best = pl.DataFrame(rows, schema=comparisons.BEST, orient="row")
    written = [of(best, "wit", "mutual_knn"), of(best.with_columns(k=pl.lit(None, pl.Int32)), "wit", "cka")]
    tables.write(pl.concat(written).to_arrow(), tmp_path / "tables/alignment.parquet", {})
    return tmp_path


def test_pairs_come_best_first_with_how_sure_and_where(results):
    text = show(results, metric="mutual_knn")
    title, header, first, second, third = text.splitlines()
    assert title == "wit: mutual_knn, k = 10, 1,024 samples, 3 pairs of models"
    assert header.split() == [
        *("model", "with", "score", "interval", "threshold", "calibrated", "p", "q", "layer", "its", "layer"),
    ]
    assert first.split() == ["b", "c", "0.600", "0.200", "to", "0.300", "0.100", "0.500", "0.020", "0.030", "1", "7"]
    assert (second.split()[:2], third.split()[:2]) == (["c", "a"], ["a", "b"])
    assert second.split()[3] == "-"


def test_a_model_is_seen_from_its_side(results):
    lines = show(results, model="a", metric="cka").splitlines()
    assert lines[0] == "wit: cka, 1,024 samples, 2 pairs of a"
    assert [line.split()[:2] for line in lines[2:]] == [["a", "c"], ["a", "b"]]
    assert lines[2].split()[-2:] == ["7", "3"], "layers are turned with the models"


def test_every_setting_is_shown_and_long_tables_are_cut(results):
    assert len(show(results).split("\n\n")) == 2
    rows = [pair(f"m{i}", f"m{j}", 0.01 * i) for i in range(6) for j in range(i)]
    best = pl.DataFrame(rows, schema=comparisons.BEST, orient="row")
    tables.write(of(best, "d", "cka").to_arrow(), results / "tables/alignment.parquet", {})
    assert show(results).splitlines()[-1].startswith("... and 5 more")
    assert len(show(results, model="m5").splitlines()) == 7


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"model": "z"}, "has no model 'z' in its table of alignments; it has a, b, c"),
        ({"dataset": "z"}, "has no data set 'z' in its table of alignments; it has wit"),
        ({"metric": "z"}, "has no metric 'z' in its table of alignments; it has cka, mutual_knn"),
    ],
)
def test_what_is_not_there_is_said(results, asked, message):
    with pytest.raises(BankError, match=message):
        show(results, **asked)


def test_folders_without_results(tmp_path):
    with pytest.raises(BankError, match="there is no folder"):
        show(tmp_path / "absent")
    with pytest.raises(BankError, match=r"has no table of alignments \(.*alignment.parquet\); run snakemake"):
        show(tmp_path)
    path = tmp_path / "tables/alignment.parquet"
    path.parent.mkdir()
    path.write_bytes(b"PAR1")
    with pytest.raises(tables.TableError, match="is not a complete Parquet file"):
        show(tmp_path)
    tables.write(pl.DataFrame({"model_x": ["a"]}).to_arrow(), path, {})
    with pytest.raises(tables.TableError, match="has no column"):
        show(tmp_path)
    empty = {name: [] for name in ("model_x", "model_y", "dataset", "metric", "k", "n", "score", "threshold", "p", "q",
                                   "calibrated", "low", "high", "layer_x", "layer_y")}  # fmt: skip
    tables.write(pl.DataFrame(empty).to_arrow(), path, {})
    assert "has no pair of models" in show(tmp_path)
