"""Layers that are the same for all samples take no part, for any metric, and every table says so."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from prh.alignment import comparisons, representations
from prh.alignment.comparisons import Settings, SweptModel, sweep_row
from prh.core.alignment import align, compare
from prh.core.evidence import crossfit
from prh.core.metrics import METRICS, Representation
from prh.core.neighbours import nearest
from prh.core.scoring import best_pair, scores
from prh.core.ties import key_of
from prh.io import tables
from prh.studies.layer_matrix import drawing as layer_matrix

N = 60
ROW = np.arange(1, 7, dtype=np.float32)
CONSTANT = np.tile(ROW, (N, 1))
NOISY = (CONSTANT * (1 + 2.0**-23 * np.random.default_rng(1).integers(-2, 3, (N, 6)))).astype(np.float32)


def layers(seed, widths=(6, 9)):
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99).normal(size=(N, 9))
    return [(shared[:, :d] + rng.normal(size=(N, d))).astype(np.float32) for d in widths]


@pytest.mark.parametrize("same", [CONSTANT, NOISY], ids=["equal", "rounding"])
@pytest.mark.parametrize("metric", sorted(METRICS))
def test_the_others_score_as_without_it_and_keep_their_numbers(metric, same):
    (a, b), (c, d) = layers(0), layers(1)
    with_it = Representation("x", [same, a, b]), Representation("y", [c, same, d])
    without = Representation("x", [a, b]), Representation("y", [c, d])
    settings = {"permutations": 5, "splits": 2, "seed": 3}
    found, wanted = (compare(*pair, metric, 5, **settings) for pair in (with_it, without))
    assert found.scores.shape == (3, 3)
    assert np.isnan(found.scores[0]).all()
    assert np.isnan(found.scores[:, 1]).all()
    np.testing.assert_array_equal(found.scores[np.ix_([1, 2], [0, 2])], wanted.scores)
    np.testing.assert_array_equal(found.null, wanted.null)
    assert (found.best, found.crossfitted, found.p) == (wanted.best, wanted.crossfitted, wanted.p)
    assert found.layers == (wanted.layers[0] + 1, 2 * wanted.layers[1])
    assert found.left_out == ((0,), (1,))
    one = with_it[0].layer(found.layers[0])
    assert scores(one, with_it[1].layer(found.layers[1]), metric, 5) == pytest.approx(found.best, abs=1e-6)


def test_two_models_whose_first_layers_are_constant_do_not_agree_there():
    """A class token in the embedding layers of two models: all products tie, in any order."""
    rng = np.random.default_rng(2)
    x, y = ([CONSTANT, *(rng.normal(size=(N, 8)).astype(np.float32) for _ in range(2))] for _ in range(2))
    for metric in ("mutual_knn", "cka"):
        found = align(x, y, metric, 5, permutations=99)
        assert found.layers[0] > 0
        assert found.layers[1] > 0
        assert found.p > 0.05


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_model_without_any_difference_is_refused_in_one_sentence(metric):
    message = r"y: all rows of each of its layers are equal, so no sample is nearer than another; leave it out\."
    with pytest.raises(ValueError, match=message):
        align(layers(0), [CONSTANT, NOISY], metric, 5)


def test_what_is_left_out_cannot_be_asked_for():
    x = Representation("x", [CONSTANT, *layers(0)])
    assert (len(x), x.total, x.left_out) == (2, 3, (0,))
    with pytest.raises(ValueError, match="x, layer 0: all rows are equal; compare another layer"):
        x.layer(0)
    with pytest.raises(ValueError, match="no layer pair has a score"):
        best_pair(np.full((2, 2), np.nan))


def test_other_scores_that_are_not_numbers_are_still_errors_with_the_models_numbers():
    xs = layers(0)
    flat = np.tile(np.arange(3, dtype=np.float32), (N, 1)) + xs[0][:, :1]  # all rows correlate perfectly
    with pytest.raises(ValueError, match="rsa of x layer 1 and y layer 2 is not a number"):
        align([CONSTANT, *xs], [xs[0], CONSTANT, flat], "rsa")


@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"cknna_official"}))
def test_a_layer_that_is_constant_in_a_half_takes_no_part_in_that_split(metric):
    """Two samples differ from all others: in many splits one half holds both of them.

    Not for cknna_official: of 58 equal samples its HSIC of a model with itself is negative, and its root no number.
    """
    (a, b), (c, d) = layers(0), layers(1)
    odd = CONSTANT.copy()
    odd[[3, 4]] += np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    if metric.startswith("rsa"):
        odd += 1e-3 * np.random.default_rng(4).normal(size=odd.shape).astype(np.float32)
    found = align([odd, a, b], [c, d], metric, 4, splits=6)
    assert -1 < found.crossfitted <= 1
    assert np.isfinite(found.optimism)


def test_splits_without_any_layer_pair_leave_no_cross_fitted_score():
    odd = CONSTANT.copy()
    odd[3] += 1
    x, y = Representation("x", [odd]), Representation("y", layers(1))
    assert crossfit(x, y, "cka", None, 3, np.random.default_rng(0)) == (None, None)
    found = compare(x, y, "cka", splits=3, subsamples=5)
    assert found.crossfitted is found.optimism is found.chosen_interval is None
    _, best = comparisons.row(x, [y], "cka", Settings((), 0, 0, 3, 0.05, 0))
    assert best["crossfitted"].to_list() == [None]


def test_tables_of_scores_hold_null_and_the_best_names_what_is_left_out(tmp_path):
    x, y = Representation("x", [CONSTANT, *layers(0)]), Representation("y", layers(1))
    rows, best = comparisons.row(x, [y], "mutual_knn", Settings((5,), 19, 0, 2, 0.05, 0))
    rows = pl.from_arrow(rows)
    assert rows.filter(pl.col("score").is_null())["layer_x"].to_list() == [0, 0]
    assert rows["score"].is_nan().sum() == 0
    assert best["left_out_x"].to_list() == [[0]]
    assert best["left_out_y"].to_list() == [[]]
    assert comparisons.left_out(best) == {"x": [0]}
    assert "x: left out, as it is the same for all samples: layer 0" in comparisons.remarks(best)
    tables.write(best.to_arrow(), tmp_path / "best.parquet", {})
    assert pl.from_arrow(tables.read(tmp_path / "best.parquet")).equals(best)
    fig = layer_matrix.draw(rows, "x", "y")
    image = fig.axes[0].images[0].get_array()
    assert image.shape == (2, 3)
    assert image.mask[:, 0].all() or np.isnan(image.filled(np.nan)[:, 0]).all()
    assert "Grey: no score, as a layer is the same for all samples." in fig.texts[-1].get_text().replace("\n", " ")


def test_a_curve_over_n_leaves_it_out_as_well():
    (a, b), (c, d) = layers(0), layers(1)
    settings = Settings((3,), 9, 0, 0, 0.05, 0)
    found = sweep_row(
        SweptModel("x", [None, a, b]), [SweptModel("y", [c, CONSTANT, d])], "mutual_knn", [20, 60], settings
    )
    wanted = sweep_row(SweptModel("x", [a, b]), [SweptModel("y", [c, d])], "mutual_knn", [20, 60], settings)
    assert found["score"].to_list() == wanted["score"].to_list()
    assert found["left_out_x"].to_list() == [[0], [0]]
    assert found["left_out_y"].to_list() == [[1], [1]]
    with pytest.raises(ValueError, match="x: every layer is the same for all samples"):
        sweep_row(SweptModel("x", [None]), [SweptModel("y", [c])], "mutual_knn", [20], settings)


# Through the programs -------------------------------------------------------------------------------------------------


def run(repository, program, *arguments):
    command = [sys.executable, repository / f"workflow_scripts/{program}.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def features(tmp_path):
    def write(name, parts):
        ids = [f"s{i}" for i in range(N)]
        names = [f"block {i}" for i in range(len(parts))]
        tables.write(
            tables.layers_table(ids, parts), tmp_path / f"{name}.parquet", {"model": name, "layer_names": names}
        )
        return tmp_path / f"{name}.parquet"

    return write


PREPARATION = {"clamp": None, "clamp_scope": "layer", "normalise": True}


@pytest.mark.slow
def test_the_programs_leave_it_out_and_say_so(features, tmp_path, repository):
    files = [features("one", [CONSTANT, *layers(0)]), features("two", [layers(1)[0], NOISY, layers(1)[1]])]
    lists = [path.with_suffix(".nn.parquet") for path in files]
    spec = json.dumps({"alignment": {**PREPARATION, "k_max": 40}})
    logs = []
    for path, output in zip(files, lists, strict=True):
        done = run(repository, "neighbours", "--spec", spec, "--features", path, "--output", output)
        assert done.returncode == 0, done.stderr
        logs.append(done.stdout)
    assert "one: left out, as it is the same for all samples: layer 0 (block 0)" in logs[0]
    assert tables.made_by(lists[0])["left_out"] == [0]
    assert tables.layer_columns(tables.read(lists[1]).schema) == ["layer_00", "layer_02"]
    x = representations.representation("one", None, lists[0], PREPARATION)
    assert (x.left_out, x.ties(5)[1:].tolist()) == ((0,), [0, 0])
    wanted = nearest(
        next(p for p in list(representations.prepared(files[0], PREPARATION))[1:]), 7, key=key_of("one", 1)
    )
    np.testing.assert_array_equal(x.knn(7)[0], wanted.indices)

    for metric, sides in (("mutual_knn", ["--neighbours", *lists]), ("cka", ["--features", *files]),
                          ("cknna", ["--features", *files, "--neighbours", *lists])):  # fmt: skip
        settings = {"k": [5], "permutations": 9, "subsamples": 0, "splits": 2, "alpha": 0.05, "seed": 0}
        spec = json.dumps({"metric": metric, "alignment": settings | PREPARATION})
        outputs = ["--scores", tmp_path / "scores.parquet", "--best", tmp_path / "best.parquet"]
        done = run(repository, "alignment", "--spec", spec, "--models", "one", "two", *sides, *outputs)
        assert done.returncode == 0, done.stderr
        assert "two: left out, as it is the same for all samples: layer 1" in done.stdout
        assert tables.made_by(tmp_path / "scores.parquet")["left_out"] == {"one": [0], "two": [1]}
        table = pl.from_arrow(tables.read(tmp_path / "scores.parquet"))
        left = table.filter(pl.col("score").is_null()).select("layer_x", "layer_y").rows()
        assert set(left) == {(0, 0), (0, 1), (0, 2), (1, 1), (2, 1)}


def test_a_program_refuses_a_model_that_says_nothing(features, tmp_path, repository):
    path = features("mute", [CONSTANT, NOISY])
    spec = json.dumps({"alignment": {**PREPARATION, "k_max": 40}})
    done = run(repository, "neighbours", "--spec", spec, "--features", path, "--output", tmp_path / "n.parquet")
    assert done.returncode == 1
    assert "mute: every layer is the same for all 60 samples, so no sample is nearer than another" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "n.parquet").exists()
