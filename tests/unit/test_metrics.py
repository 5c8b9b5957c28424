"""Every metric against its plain definition, its invariances, and what it must refuse."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import prh.core.metrics
from prh import prepare
from prh.core.metrics import METRICS, Representation, kernels, subspaces
from tests.unit import reference

NAMES = sorted(METRICS)
KNN = ["mutual_knn", "jaccard_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"]
on_gpu = pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="needs a GPU")
KINDS = ["random", "low-rank", "duplicated", "tied", "offset", "tiny"]


def features(kind, seed, n=None):
    """[n, d] float32 of a kind that metrics get wrong: low rank, equal rows, equal similarities, a large mean."""
    rng = np.random.default_rng(seed)
    n, d = n or int(rng.integers(12, 40)), int(rng.integers(3, 24))
    x = rng.normal(size=(n, d))
    if kind == "low-rank":
        x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, d))
    elif kind == "duplicated":
        x = x[rng.integers(0, n // 2, n)]
    elif kind == "tied":
        x = rng.integers(-1, 2, size=(n, d))
        x[:, 0] += np.arange(n) % 3  # no row without variance
    elif kind == "offset":
        x = x * 0.1 + 3
    elif kind == "tiny":
        x = rng.normal(size=(n, 2)) * 1e-3
    return x.astype(np.float32)


def score(name, x, y, k=None):
    metric = METRICS[name]
    return metric.function(x, y, **({"k": k} if metric.needs_k else {}), **metric.options)


def expected(name, x, y, k):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return getattr(reference, name)(x, y, **({"k": k} if METRICS[name].needs_k else {}))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    seed=st.integers(0, 10**6),
    n=st.integers(12, 32),
    k=st.integers(2, 11),
)
def test_equal_to_the_plain_definition(name, kinds, seed, n, k):
    n = 3 * n if name == "pwcca" else n  # with fewer samples than dimensions its weights are not unique
    x, y = features(kinds[0], seed, n), features(kinds[1], seed + 1, n)
    if name.startswith("rsa") and "tiny" in kinds:
        return  # two columns: correlations are +1 or -1, and their rounding is all there is to rank
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = expected(name, x, y, k)
    if np.isnan(wanted):
        with pytest.raises(ValueError, match="not a number"):
            score(name, x, y, k)
    else:
        exact = name in KNN
        assert score(name, x, y, k) == pytest.approx(wanted, rel=0 if exact else 2e-4, abs=1e-12 if exact else 2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_all_layer_pairs_at_once_are_the_pairs_one_by_one(name):
    rng = np.random.default_rng(3)
    shared = rng.normal(size=(40, 6))
    xs = [(shared @ rng.normal(size=(6, d)) + rng.normal(size=(40, d))).astype(np.float32) for d in (5, 12, 70)]
    ys = [(shared @ rng.normal(size=(6, d)) + rng.normal(size=(40, d))).astype(np.float32) for d in (9, 50)]
    together = METRICS[name].scores(Representation("x", xs), Representation("y", ys), 7)
    assert together.shape == (3, 2)
    assert together.dtype == np.float64
    np.testing.assert_allclose(together, [[score(name, x, y, 7) for y in ys] for x in xs], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_traits_are_true(name):
    x, y = features("random", 1, 61), features("random", 2, 61)
    y[:, : x.shape[1]] += x[:, : y.shape[1]]
    forward, back = score(name, x, y, 3), score(name, y, x, 3)
    if METRICS[name].symmetric:
        assert forward == pytest.approx(back, abs=1e-6)
    else:
        assert forward != pytest.approx(back, abs=1e-6)
    if name not in ("cycle_knn", "linear_regression"):
        assert score(name, x, x, 8) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_invariant_to_rotation_and_scale(name):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(50, 8)).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32)
    y += x
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    before = score(name, x, y, 6)
    if not name.startswith(("rsa", "svcca", "pwcca")):  # these depend on the axes: they centre or scale along them
        assert score(name, x @ rotation, y, 6) == pytest.approx(before, abs=1e-5)
    if name not in ("cka_rbf", "cknna_official"):  # a kernel width and an epsilon have a scale
        assert score(name, 3 * x, y, 6) == pytest.approx(before, abs=1e-5)


def of_rank(rng, n, d, rank, noise=0.0):
    return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + noise * rng.normal(size=(n, d))


def falling(rng, n, d, scale):
    return rng.normal(size=(n, d)) * np.exp(-np.arange(d) / scale)


PAIRS = {  # of x and y, [n, d]; where both keep more than n - 1 components together, correlations of 1 repeat
    "wide": lambda rng, n: (rng.normal(size=(n, 3 * n)), rng.normal(size=(n, 2 * n))),
    "low rank": lambda rng, n: (of_rank(rng, n, 50, 5), of_rank(rng, n, 40, 7)),
    "low rank and noise": lambda rng, n: (of_rank(rng, n, n, n // 2, 0.01), of_rank(rng, n, 2 * n, n // 2, 0.1)),
    "as wide as many": lambda rng, n: (rng.normal(size=(n, n - 1)), rng.normal(size=(n, n + 1))),
    "falling spectra": lambda rng, n: (falling(rng, n, 2 * n, n / 3), falling(rng, n, 2 * n, n / 2)),
    "one the other's": lambda rng, n: (x := rng.normal(size=(n, n // 2)), x @ of_rank(rng, n // 2, n, n // 2)),
    "classes": lambda rng, n: (np.repeat(np.eye(n // 5), 5, axis=0), rng.normal(size=(n, 8))),
}


def require_order_is_nothing(name, x, y):
    before = score(name, x, y, 6)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(x))
        exact = name in KNN
        assert score(name, x[order], y[order], 6) == pytest.approx(before, abs=1e-12 if exact else 2e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pair", PAIRS)
def test_the_order_of_samples_is_nothing(name, pair):
    if pair == "classes" and METRICS[name].needs_k:
        return  # equal rows: their order is drawn
    x, y = (side.astype(np.float32) for side in PAIRS[pair](np.random.default_rng(5), 60))
    require_order_is_nothing(name, x, y)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_samples_is_nothing_to_real_data(name, real):
    """Human and monkey IT, as rows of dissimilarities; word vectors, 25 of 50 of which are those of the same words."""
    with np.load(real / "brain92" / "rdms.npz") as file:
        human, monkey = (file[key].astype(np.float32) for key in ("human_IT_mean", "monkey_IT_fig1"))
    require_order_is_nothing(name, human, monkey)
    words = load_file(real / "weights/language/glove25/vectors.safetensors")
    vectors = next(iter(words.values()))[100:300].astype(np.float32)
    require_order_is_nothing(name, prepare(vectors), prepare(np.tanh(vectors[:, ::2])))


@pytest.mark.parametrize("pair", PAIRS)
def test_regression_is_never_much_worse_than_the_mean(pair):
    """With small penalties alone R2 is -1.5 and less where there are about as many samples as features."""
    x, y = (side.astype(np.float32) for side in PAIRS[pair](np.random.default_rng(5), 60))
    assert score("linear_regression", x, y) > -3 / 60
    assert score("linear_regression", y, x) > -3 / 60


def test_regression_in_little_memory_is_the_same():
    """One form of 5 fits, all do not: they are built one after the other."""
    x, y = (side.astype(np.float32) for side in PAIRS["low rank"](np.random.default_rng(8), 60))
    form = 60 * 61 / 2 * 4 / 2**30
    tight = Representation("x", [x], memory_gb=3 * form), Representation("y", [y], memory_gb=3 * form)
    found = METRICS["linear_regression"].scores(*tight)
    assert found[0, 0] == score("linear_regression", x, y)
    assert not [key for key in tight[0]._states if key[0] is subspaces.residual_forms]


def test_regression_with_one_small_penalty_is_as_wild_as_told():
    x, y = np.random.default_rng(6).normal(size=(2, 60, 60)).astype(np.float32)
    assert prh.core.metrics.linear_regression(x, y, ridge=1e-4) < -1.5


def test_pwcca_weighs_equal_correlations_by_the_mean_over_their_bases():
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(40, 30)), rng.normal(size=(40, 25))
    U, V = (np.linalg.svd(z - z.mean(0), full_matrices=False)[0] for z in (x, y))
    P, correlations, _ = np.linalg.svd(U.T @ V, full_matrices=False)
    directions = U @ P
    ones = correlations > 1 - 1e-9
    assert ones.sum() == 30 + 25 - 39
    weights = np.abs(directions.T @ (x - x.mean(0))).sum(axis=1)
    turned = []
    for _ in range(400):
        rotation = np.linalg.qr(rng.normal(size=(ones.sum(),) * 2))[0]
        turned.append(np.abs((directions[:, ones] @ rotation).T @ (x - x.mean(0))).sum())
    weights[ones] = np.mean(turned) / ones.sum()
    wanted = (weights * correlations).sum() / weights.sum()
    assert prh.core.metrics.pwcca(x, y, variance=1) == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_permutation_moves_states_instead_of_building_them_again(name):
    rng = np.random.default_rng(6)
    xs, ys = ([rng.normal(size=(30, d)).astype(np.float32) for d in (4, 9)] for _ in range(2))
    x, y, order = Representation("x", xs), Representation("y", ys), rng.permutation(30)
    METRICS[name].scores(x, y, 5)
    moved = METRICS[name].scores(x, y.reordered(order), 5)
    afresh = METRICS[name].scores(x, Representation("y", [layer[order] for layer in ys]), 5)
    np.testing.assert_allclose(moved, afresh, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_belongs_to_one_model_is_computed_once_for_all_others(name, monkeypatch):
    """Whatever is built for x when it meets y, serves the next model and all permutations of x."""
    rng, built = np.random.default_rng(8), []
    x, y, other = (
        Representation(model, [rng.normal(size=(60, d)).astype(np.float32) for d in (4, 5)]) for model in "xyo"
    )
    build = Representation._build
    monkeypatch.setattr(
        Representation, "_build", lambda self, how, *args: built.append((self.name, how)) or build(self, how, *args)
    )
    centre = kernels.centred
    for module in (kernels, subspaces):
        monkeypatch.setattr(module, "centred", lambda side: built.append((side.name, "centred")) or centre(side))
    METRICS[name].scores(x, y, 3)
    first = [how for model, how in built if model == "x"]
    assert first
    METRICS[name].scores(x, other, 3)
    METRICS[name].scores(x.reordered(rng.permutation(60)), y, 3)
    again = [how for model, how in built if model == "x"][len(first) :]
    assert [how for how in again if how == "centred" or hasattr(how, "move")] == []


@pytest.mark.parametrize("name", NAMES)
@on_gpu
def test_a_metric_is_the_same_on_a_gpu(name):
    import torch

    x, y = features("random", 1, 61), features("random", 2, 61)
    y[:, : x.shape[1]] += x[:, : y.shape[1]]
    there = score(name, torch.as_tensor(x).cuda(), torch.as_tensor(y).cuda(), 3)
    assert there == pytest.approx(score(name, x, y, 3), abs=1e-12 if name in KNN else 1e-5)


def test_rows_of_rows_are_rows():
    rng = np.random.default_rng(18)
    xs = [rng.normal(size=(30, d)).astype(np.float32) for d in (4, 6)]
    x, order, keep = Representation("x", xs), rng.permutation(30), rng.permutation(30)[:12]
    wanted = [reference.knn(layer[order][keep], 3) for layer in xs]
    np.testing.assert_array_equal(x.reordered(order).subset(keep).knn(3), wanted)
    np.testing.assert_array_equal(x.reordered(order).subset(keep).layer(1).knn(3), wanted[1:])
    np.testing.assert_array_equal(x.reordered(order).layer(1).knn(29)[0], reference.knn(xs[1][order], 29))


@pytest.mark.parametrize("name", KNN)
def test_neighbour_metrics_by_tiles(name, monkeypatch):
    import prh.core.metrics.knn
    import prh.core.metrics.neighbour_planes

    x, y = features("random", 7, 50), features("tied", 8, 50)
    whole = score(name, x, y, 5)
    for module in (prh.core.metrics.knn, prh.core.metrics.neighbour_planes):
        monkeypatch.setattr(module, "TILE", 640)
    assert score(name, x, y, 5) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("name", ["cka", "unbiased_cka"])
def test_features_give_the_same_as_kernels(name):
    x, y = features("random", 9, 40), features("offset", 10, 40)
    by_kernels = score(name, x, y)
    tight = [Representation(side, [z], memory_gb=1e-9) for side, z in (("x", x), ("y", y))]
    assert METRICS[name].scores(*tight)[0, 0] == pytest.approx(by_kernels, abs=1e-5)


def test_chance_level_of_mutual_knn():
    rng = np.random.default_rng(11)
    n, k = 300, 10
    scores = [prh.core.metrics.mutual_knn(*rng.normal(size=(2, n, 20)), k=k) for _ in range(30)]
    assert np.mean(scores) == pytest.approx(k / (n - 1), abs=4 * np.std(scores) / np.sqrt(30))


def test_cknna_with_all_neighbours_is_unbiased_cka():
    x, y = features("random", 12, 30), features("offset", 13, 30)
    assert prh.core.metrics.cknna(x, y, k=29) == pytest.approx(prh.core.metrics.unbiased_cka(x, y), abs=1e-5)
    assert prh.core.metrics.cknna(x, y, k=29, definition="official") == pytest.approx(
        prh.core.metrics.unbiased_cka(x, y), abs=1e-3
    )


def test_unbiased_cka_of_unrelated_features_is_about_zero_where_cka_is_not():
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=(2, 100, 200)).astype(np.float32)
    assert abs(prh.core.metrics.unbiased_cka(x, y)) < 0.05
    assert prh.core.metrics.cka(x, y) > 0.5


def test_torch_tensors_are_taken_too():
    torch = pytest.importorskip("torch")
    x, y = features("random", 15, 20), features("random", 16, 20)
    wanted = prh.core.metrics.mutual_knn(x, y, k=3)
    assert prh.core.metrics.mutual_knn(torch.as_tensor(x), torch.as_tensor(y, dtype=torch.float64), k=3) == wanted


GOOD = features("random", 17, 20)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD[:-1], "x has 20 samples and y has 19"),
        (np.where(np.arange(20)[:, None] == 3, np.nan, GOOD), "y, layer 0 holds NaN"),
        (np.where(np.arange(20)[:, None] == 3, np.inf, GOOD), "y, layer 0 holds NaN or infinite"),
        (np.ones_like(GOOD), "y, layer 0: all rows are equal"),
        (GOOD.astype(int), "y, layer 0 holds int64"),
        (GOOD[:1], "y, layer 0 has one sample"),
        (GOOD[:0], "y, layer 0 has shape"),
        (GOOD[:, 0], "y, layer 0 has shape"),
        (np.ma.masked_array(GOOD, mask=GOOD > 1), "y, layer 0 has masked values"),
    ],
    ids=["n", "nan", "inf", "constant", "integers", "one-sample", "empty", "one-dimensional", "masked"],
)
def test_bad_input_is_refused_by_name(name, bad, message):
    with pytest.raises(ValueError, match=message):
        score(name, GOOD, bad, 3)


@pytest.mark.parametrize("name", [name for name in NAMES if METRICS[name].needs_k])
@pytest.mark.parametrize("k", [0, 20, 2.5])
def test_bad_k_is_refused(name, k):
    with pytest.raises(ValueError, match="k is"):
        score(name, GOOD, GOOD, k)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prh.core.metrics.cka(GOOD, GOOD, kernel="cosine"), "kernel is 'cosine'"),
        (lambda: prh.core.metrics.cka(GOOD, GOOD, kernel="rbf", sigma=0), "sigma is 0"),
        (lambda: prh.core.metrics.cknna(GOOD, GOOD, k=3, definition="mine"), "definition is 'mine'"),
        (lambda: prh.core.metrics.unbiased_cka(GOOD[:3], GOOD[:3]), "at least 4"),
        (lambda: prh.core.metrics.rsa(GOOD, GOOD, compare="kendall"), "compare is 'kendall'"),
        (lambda: prh.core.metrics.rsa(GOOD[:2], GOOD[:2]), "at least 3"),
        (lambda: prh.core.metrics.svcca(GOOD, GOOD, dims=20), "dims is 20"),
        (lambda: prh.core.metrics.pwcca(GOOD, GOOD, variance=0), "variance is 0"),
        (lambda: prh.core.metrics.linear_regression(GOOD[:2], GOOD[:2]), "at least 3"),
        (lambda: prh.core.metrics.linear_regression(GOOD, GOOD, ridge=-1), "ridge is -1"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither layers nor neighbours"),
        ({"layers": [GOOD, GOOD[:5]]}, "samples; all layers must have the same number"),
        ({"layers": [GOOD], "neighbours": [np.zeros((20, 3), int)] * 2}, "1 layers but neighbours of 2"),
        ({"neighbours": [np.zeros((20, 3))]}, "must be integers"),
        ({"neighbours": [np.full((20, 3), 20)]}, "must be from 0 to 19"),
        ({"neighbours": [np.tile([0, 1, 2], (20, 1))]}, "layer 0: a list has its own sample or a repeated one"),
        (
            {"neighbours": [(np.arange(20)[:, None] + [1, 2, 1]) % 20]},
            "layer 0: a list has its own sample or a repeated one",
        ),
    ],
)
def test_bad_representations_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Representation("model", **arguments)


def test_neighbours_alone_serve_neighbour_metrics_only():
    x = Representation("model", neighbours=[reference.knn(GOOD, 5)])
    assert prh.core.metrics.mutual_knn(x, x, k=5) == 1
    with pytest.raises(ValueError, match="only 5 neighbours per sample; raise k_max"):
        prh.core.metrics.mutual_knn(x, x, k=6)
    with pytest.raises(ValueError, match="has only neighbours"):
        prh.core.metrics.cka(x, x)


def test_names_and_traits_are_known_without_torch():
    code = "import sys, prh.core.metrics; assert 'mutual_knn' in prh.core.metrics.METRICS; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment())


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_one_function_makes_a_metric(monkeypatch):
    monkeypatch.setattr(prh.core.metrics.base, "METRICS", dict(METRICS))

    @prh.core.metrics.metric(
        summary="share with one nearest neighbour", needs="neighbours", symmetric=True, bounded=True
    )
    def same_nearest(x, y):
        return np.array([[np.mean(a[:, 0] == b[:, 0]) for b in y.knn(1)] for a in x.knn(1)])

    assert same_nearest(GOOD, GOOD) == 1
    assert prh.core.metrics.base.METRICS["same_nearest"].needs_k is False
