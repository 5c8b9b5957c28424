import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from prh.competence import probe_tasks
from prh.competence.logistic import fit_logistic
from prh.competence.probe_samples import Labelled, merged, require_classes, split, stratified_split
from prh.competence.probes import linear_probe
from prh.experiment.schema import Probe
from prh.io import tables


def blobs(n: int, width: int, classes: int, gap: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width))
    mixing = np.random.default_rng(98).normal(size=(width, width))  # correlated features, as real ones are
    return ((gap * centres[y] + rng.normal(size=(n, width))) @ mixing).astype(np.float32), y


@pytest.mark.parametrize(("n", "width", "classes"), [(300, 20, 5), (60, 90, 3), (200, 10, 2)])
@pytest.mark.parametrize("l2", [1.0, 0.01, 1e-4])
def test_logistic_regression_has_the_optimum_of_scikit_learn(n, width, classes, l2):
    x, y = blobs(n, width, classes, 0.5, seed=0)
    x = (x - x.mean(0)) / x.std(0)
    ours = fit_logistic(torch.from_numpy(x).double(), y, classes, [l2], tolerance=1e-8, max_iter=2000)[-1]
    theirs = LogisticRegression(C=1 / (n * l2), tol=1e-8, max_iter=20_000).fit(x.astype(np.float64), y)
    weight, bias = theirs.coef_, theirs.intercept_
    if classes == 2:  # scikit-learn has one vector w for two classes; softmax has +w/2 and -w/2 at half the penalty
        theirs = LogisticRegression(C=2 / (n * l2), tol=1e-8, max_iter=20_000).fit(x.astype(np.float64), y)
        weight, bias = np.stack([-theirs.coef_[0], theirs.coef_[0]]) / 2, np.array([-1, 1]) * theirs.intercept_ / 2
    assert ours.converged
    assert ours.loss == pytest.approx(objective(x, y, weight, bias, l2), rel=1e-5)
    np.testing.assert_allclose(ours.weight.numpy(), weight, atol=1e-3 * np.abs(weight).max())
    in_single_precision = fit_logistic(torch.from_numpy(x), y, classes, [l2])[-1]
    assert in_single_precision.loss == pytest.approx(ours.loss, rel=3e-3)


def objective(x, y, weight, bias, l2) -> float:
    logits = x.astype(np.float64) @ weight.T + bias
    log_z = np.log(np.exp(logits).sum(1))
    return float((log_z - logits[np.arange(len(y)), y]).mean() + l2 / 2 * (weight**2).sum())


def test_warm_starts_end_where_cold_starts_do():
    x, y = blobs(200, 15, 4, 0.5, seed=1)
    x = torch.from_numpy((x - x.mean(0)) / x.std(0))
    warm = fit_logistic(x, y, 4, [1.0, 0.1, 0.01])[-1]
    cold = fit_logistic(x, y, 4, [0.01])[-1]
    assert warm.loss == pytest.approx(cold.loss, rel=1e-5)
    torch.testing.assert_close(warm.weight, cold.weight, atol=2e-3, rtol=2e-3)


def test_probe_reads_what_is_linearly_there():
    x, y = blobs(600, 12, 4, 3.0, seed=2)
    result = linear_probe(x[:400], y[:400], x[400:], y[400:])
    assert result.top1 > 0.97
    assert (result.n_train, result.n_test, result.classes) == (400, 200, 4)
    assert result.stderr == pytest.approx(math.sqrt(result.top1 * (1 - result.top1) / 200))
    assert result.converged


def test_random_labels_give_chance():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 16)).astype(np.float32)
    y = rng.integers(0, 5, 3000)
    result = linear_probe(x[:1000], y[:1000], x[1000:], y[1000:])
    assert abs(result.top1 - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 2000)


def test_the_probe_does_not_depend_on_scale_shift_order_or_names_of_classes():
    x, y = blobs(300, 8, 3, 0.6, seed=4)
    plain = linear_probe(x[:200], y[:200], x[200:], y[200:])
    scale, shift = np.logspace(-3, 3, 8, dtype=np.float32), np.linspace(-2, 2, 8, dtype=np.float32)
    moved = x * scale + shift * scale
    names = np.array(["ant", "bee", "cat"])[y]
    assert linear_probe(moved[:200], names[:200], moved[200:], names[200:]).top1 == pytest.approx(plain.top1, abs=0.011)
    assert linear_probe(x[:200], y[:200], x[200:], y[200:]) == plain


def test_a_feature_that_never_varies_changes_nothing():
    x, y = blobs(300, 8, 3, 0.6, seed=5)
    constant = np.concatenate([x, np.full((300, 1), 1234.567, np.float32)], axis=1)
    plain = linear_probe(x[:200], y[:200], x[200:], y[200:])
    assert linear_probe(constant[:200], y[:200], constant[200:], y[200:]).top1 == pytest.approx(plain.top1, abs=0.011)


@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=60).filter(lambda y: max(np.bincount(y)) > 1),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
)
@settings(max_examples=50, deadline=None)
def test_split_is_a_partition_that_keeps_every_class(labels, share, seed):
    kept, held = stratified_split(np.array(labels), share, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert set(np.array(labels)[kept]) == set(labels)
    assert len(held) > 0


def test_split_holds_out_the_same_share_of_each_class():
    labels = np.repeat([0, 1, 2], [50, 100, 10])
    _, held = stratified_split(labels, 0.2, 0)
    assert np.bincount(labels[held]).tolist() == [10, 20, 2]


X, Y = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 2
NAN = np.where(np.arange(60).reshape(20, 3) == 16, np.nan, X)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((NAN, Y, X, Y), {}, "training features hold NaN or infinity, first in row 5"),
        ((X, Y, NAN, Y), {}, "test features hold NaN"),
        ((X, Y[:-1], X, Y), {}, "20 training samples and labels of shape"),
        ((X, Y, X, Y[:, None]), {}, "20 test samples and labels of shape"),
        ((X, Y, X[:, :2], Y), {}, "3 columns and test features 2"),
        ((X[:0], Y[:0], X, Y), {}, "filled array"),
        ((X[0], Y, X, Y), {}, "filled array"),
        ((X.astype(int), Y, X, Y), {}, "floating-point"),
        ((X, Y * 0, X, Y * 0), {}, "one class"),
        ((X, Y, X, Y * 0), {}, "1 classes of the training samples are missing from the test samples, such as 1"),
        ((X, Y, X, np.arange(20) % 3), {}, "1 classes of the test samples are missing from the training samples"),
        ((X, [None] * 20, X, Y), {}, "labels must be integers or strings"),
        ((X, Y + 0.5, X, Y), {}, "labels must be integers or strings"),
        ((X[:2], Y[:2], X, Y), {}, "No class has two training samples"),
        ((X, Y, X, Y), {"grid": []}, "grid of regularisation"),
        ((X, Y, X, Y), {"grid": [0.0]}, "grid of regularisation"),
        ((X, Y, X, Y), {"validation": 1.0}, "between 0 and 1"),
        ((X * 0 + 3, Y, X, Y), {}, "the same for every sample"),
        ((X * 0, Y, X, Y), {}, "the same for every sample"),
        ((X * 0 + 1 + 1e-8 * X, Y, X, Y), {}, "the same for every sample"),
    ],
)
def test_bad_input_is_refused_in_words(args, options, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(*args, **options)


def labelled(*labels: str) -> Labelled:
    return Labelled(np.arange(len(labels), dtype=np.float32)[:, None], np.array(labels, dtype=str))


MANY = labelled(*("a" * 90), *("b" * 9), "c")


def test_a_limit_takes_the_same_share_of_each_class_and_one_of_each_at_least():
    train, test = split(MANY, MANY, limit=20, test_share=0.25, seed=0)
    assert {name: (train.labels == name).sum() for name in "abc"} == {"a": 18, "b": 1, "c": 1}
    assert test is MANY
    again, _ = split(MANY, MANY, limit=20, test_share=0.25, seed=0)
    np.testing.assert_array_equal(train.features, again.features)


@pytest.mark.parametrize(("limit", "kept"), [(3, 3), (4, 4), (99, 99), (100, 100), (1000, 100)])
def test_a_limit_is_never_exceeded_and_loses_no_class(limit, kept):
    train, _ = split(MANY, MANY, limit=limit, test_share=0.25, seed=0)
    assert len(train.labels) <= kept
    assert set(train.labels) == set("abc")


@pytest.mark.parametrize(
    ("train", "test", "limit", "message"),
    [
        (MANY, None, 100, "1 classes have one sample each, such as c, which cannot be both learnt and tested"),
        (MANY, MANY, 2, "limit of 2 training samples is below the 3 classes"),
        (labelled(), None, 100, "None of the training samples has a label"),
        (MANY, labelled(), 100, "None of the test samples has a label"),
    ],
)
def test_samples_that_cannot_be_split_are_refused_in_words(train, test, limit, message):
    with pytest.raises(ValueError, match=message):
        split(train, test, limit, 0.25, 0)


def test_the_number_of_classes_is_held_to_what_is_promised():
    require_classes(["0", "1", None, "2", "1"], 3, "here")
    with pytest.raises(ValueError, match=r"here must have 4 classes and has 3 \(0, 1, 2 ...\); correct 'classes'"):
        require_classes(["0", "1", None, "2", "1"], 4, "here")


@pytest.mark.parametrize(("classes", "bins"), [(32, 16), (40, 16), (9, 2)])
def test_merged_classes_are_those_of_vtab(classes, bins):
    """task_adaptation divides the label by classes / bins, in single precision, and rounds down."""
    labels = [*map(str, range(classes)), None]
    expected = np.floor_divide(np.arange(classes, dtype=np.float32), np.float32(classes / bins)).astype(int)
    assert merged(labels, classes, bins) == [*map(str, expected), None]
    assert len(set(merged(labels[:-1], classes, bins))) == bins


def test_a_label_that_cannot_be_merged_is_named():
    with pytest.raises(
        ValueError, match=r"The label 'cat' is not one of the numbers 0 to 31, so 'bins' cannot merge it"
    ):
        merged(["3", "cat"], 32, 16)


def features_table(path, numbers=None):
    """Five samples of a model with four layers; layer i holds only the number i."""
    layers = [np.full((5, 2), number, np.float32) for number in (range(4) if numbers is None else numbers)]
    table = tables.layers_table([*"abcde"], layers, numbers)
    tables.write(table, path, {"layer_names": ["w", "x", "y", "z"]})
    return path


@pytest.mark.parametrize("numbers", [None, [1, 3]])
@pytest.mark.parametrize("layer", [-1, 3, 1, -3])
def test_a_layer_is_found_by_its_number_in_the_model(tmp_path, numbers, layer):
    labels = ["cat", None, "dog", "cat", "dog"]
    found = Labelled.read(features_table(tmp_path / "f.parquet", numbers), [*"abcde"], labels, layer)
    assert found.features.tolist() == [[layer % 4] * 2] * 4
    assert found.labels.tolist() == ["cat", "dog", "cat", "dog"]


def test_a_layer_or_sample_that_is_not_there_is_named(tmp_path):
    path = features_table(tmp_path / "f.parquet", [3])
    with pytest.raises(ValueError, match="Layer 4 is asked for, but the model has 4 layers; lower it"):
        Labelled.read(path, [*"abcde"], ["x"] * 5, 4)
    with pytest.raises(tables.TableError, match="has no column layer_02; it has sample_id, layer_03"):
        Labelled.read(path, [*"abcde"], ["x"] * 5, 2)
    with pytest.raises(tables.TableError, match=r"f\.parquet and the labels do not hold the same samples"):
        Labelled.read(path, [*"abcdf"], ["x"] * 5)


def write_data_set(folder, name, seed):
    """Shards and features of samples whose last layer tells their label, 0 to 3."""
    x, y = blobs(200, 4, 4, 4.0, seed)
    ids = [f"{name}{i}" for i in range(len(y))]
    rows = [
        {"sample_id": i, "labels": [{"name": "kind", "value": str(label)}]} for i, label in zip(ids, y, strict=True)
    ]
    tables.write(pa.Table.from_pylist(rows, schema=tables.SHARD), folder / name / "shards/0.parquet", {"dataset": name})
    table = tables.layers_table(ids, [np.zeros_like(x), x])
    tables.write(table, folder / name / "f.parquet", {"layer_names": ["first", "last"]})


def test_the_scores_of_tasks_are_rows_of_their_table(tmp_path):
    write_data_set(tmp_path, "train", 0)
    write_data_set(tmp_path, "test", 1)
    tasks = [
        Probe(name="both", train="train", test="test", label="kind", classes=4),
        Probe(name="halves", train="train", label="kind", classes=4, bins=2, test_share=0.25),
    ]
    names = probe_tasks.datasets_of(tasks)
    assert names == ["train", "test"]
    folders, features = ({name: tmp_path / name / of for name in names} for of in ("shards", "f.parquet"))
    scored = probe_tasks.score_probes("m", tasks, folders, features)
    both, halves = scored.table.to_pylist()
    assert (both["model"], both["task"], both["metric"], both["source"]) == ("m", "both", "top1", "measured")
    assert (both["n"], halves["n"]) == (200, 50)
    assert min(both["value"], halves["value"]) > 0.95
    assert both["stderr"] == pytest.approx(math.sqrt(both["value"] * (1 - both["value"]) / 200))
    wrong = [tasks[0].model_copy(update={"classes": 5})]
    with pytest.raises(ValueError, match="Data set 'train' of task 'both' must have 5 classes and has 4"):
        probe_tasks.score_probes("m", wrong, folders, features)
