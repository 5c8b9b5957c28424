"""Models of which only similarities are known: every score equals that of features whose kernel they are."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import pdist, squareform

import prh
from prh.core import sweeps
from prh.core.alignment import align, compare
from prh.core.evidence import crossfit
from prh.core.kernel_inputs import as_kernel, is_constant_kernel
from prh.core.kernel_neighbours import nearest_by_kernel
from prh.core.metrics import METRICS, Representation
from prh.core.neighbours import nearest
from prh.core.scoring import scores
from prh.core.ties import key_of

WORKING = sorted(name for name, metric in METRICS.items() if metric.needs != "features")
OF_FEATURES = ["linear_regression", "procrustes", "pwcca", "svcca"]
LISTS = [name for name in WORKING if METRICS[name].needs == "neighbours"]
KINDS = ["random", "low-rank", "tied", "duplicated"]


def features(kind, seed, n, d):
    """[n, d] float32 with unit rows that share a part with all others of the same n."""
    rng = np.random.default_rng([seed, n, d])
    x = rng.normal(size=(n, d))
    if kind == "low-rank":
        x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, d))
    elif kind == "tied":
        x = rng.integers(-1, 2, size=(n, d)).astype(float)
    elif kind == "duplicated":
        x = x[rng.integers(0, 2 * n // 3, n)]
    x[:, :3] += np.random.default_rng(n).integers(-1, 2, (n, 3))
    x[:, :3] += (0.25, 0.5, 1.25)  # no row is zero
    return prh.prepare(x.astype(np.float32), clamp=None)


def kernel(metric, x):
    """The kernel of features that a metric compares: of correlations for RSA, else of inner products."""
    x = np.asarray(x, np.float64)
    return np.corrcoef(x) if metric.startswith("rsa") else x @ x.T


def sides(metric, of_kernels, xs, ys):
    """Two representations, each of features or of their kernels."""
    return [
        Representation(name, kernels=[kernel(metric, layer) for layer in layers])
        if as_kernels
        else Representation(name, layers)
        for name, layers, as_kernels in zip("xy", (xs, ys), of_kernels, strict=True)
    ]


def judged(seed=0, n=30):
    x = features("random", seed, n, 8).astype(np.float64)
    return x @ x.T


K = judged()
GOOD = features("random", 5, 30, 6)


def test_metrics_say_what_they_need():
    needs = {name: metric.needs for name, metric in METRICS.items()}
    assert sorted(name for name, need in needs.items() if need == "features") == OF_FEATURES
    assert {needs[name] for name in ("cka", "cka_rbf", "unbiased_cka", "debiased_cka", "rsa", "rsa_pearson")} == {
        "kernel"
    }
    assert {needs[name] for name in ("cknna", "cknna_paper", "cknna_official")} == {"both"}
    assert needs["mutual_knn"] == needs["cycle_knn"] == "neighbours"


@pytest.mark.parametrize("of_kernels", [(True, True), (True, False), (False, True)], ids=["both", "left", "right"])
@pytest.mark.parametrize("metric", WORKING)
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    seed=st.integers(0, 10**6),
    n=st.integers(12, 32),
    k=st.integers(2, 11),
)
def test_scores_equal_those_of_the_features(metric, of_kernels, kinds, seed, n, k):
    xs = [features(kinds[0], seed, n, d) for d in (4, 40)]
    ys = [features(kinds[1], seed + 1, n, d) for d in (5, 9, 33)]
    wanted = scores(*sides(metric, (False, False), xs, ys), metric, k)
    measured = scores(*sides(metric, of_kernels, xs, ys), metric, k)
    assert measured.shape == (2, 3)
    np.testing.assert_allclose(measured, wanted, atol=0 if metric in LISTS else 1e-5)


@pytest.mark.parametrize("kind", ["random", "low-rank", "tied"])
@pytest.mark.parametrize("metric", WORKING)
def test_all_evidence_equals_that_of_the_features(metric, kind):
    xs, ys = ([features(kind, seed, 48, d) for d in (6, 20)] for seed in (1, 2))
    evidence = {"permutations": 19, "subsamples": 4, "splits": 2}
    wanted, *measured = (
        compare(*sides(metric, of_kernels, xs, ys), metric, 4, **evidence)
        for of_kernels in [(False, False), (True, True), (False, True)]
    )
    for alignment in measured:
        assert alignment.layers == wanted.layers
        assert alignment.p == wanted.p
        for value in ("scores", "null", "threshold", "interval", "chosen_interval", "crossfitted", "optimism", "ties"):
            left, right = getattr(alignment, value), getattr(wanted, value)
            if right is None:
                assert left is None, value
            else:
                np.testing.assert_allclose(left, right, atol=1e-5, err_msg=value)


@pytest.mark.parametrize("metric", ["cka", "rsa", "cknna", "mutual_knn"])
def test_evidence_with_groups_equals_that_of_the_features(metric):
    xs, ys = ([features("random", seed, 48, 7)] for seed in (1, 2))
    evidence = {"permutations": 9, "subsamples": 4, "splits": 2, "groups": np.arange(48) // 4}
    wanted, measured = (
        compare(*sides(metric, (of, of), xs, ys), metric, 3, **evidence) for of in (False, True)
    )  # fmt: skip
    np.testing.assert_allclose(measured.interval, wanted.interval, atol=1e-5)
    np.testing.assert_allclose([*measured.null, measured.crossfitted], [*wanted.null, wanted.crossfitted], atol=1e-5)


@pytest.mark.parametrize("metric", WORKING)
def test_the_order_of_the_samples_changes_nothing(metric):
    x, y = features("random", 3, 40, 9), features("random", 4, 40, 12)
    order = np.random.default_rng(0).permutation(40)
    K, L = kernel(metric, x), kernel(metric, y)
    before = align(Representation("x", kernels=[K]), Representation("y", kernels=[L]), metric, 5).best
    K_in_order, L_in_order = K[order][:, order], L[order][:, order]
    moved = [Representation("x", kernels=[K_in_order]), Representation("y", kernels=[L_in_order])]
    assert align(*moved, metric, 5).best == pytest.approx(before, abs=1e-6)
    permuted = Representation("y", kernels=[L]).reordered(order)
    alone = scores(Representation("x", kernels=[K]), moved[1], metric, 5)
    np.testing.assert_allclose(scores(Representation("x", kernels=[K]), permuted, metric, 5), alone, atol=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10**6),
    n=st.integers(3, 40),
    precision=st.sampled_from(["float32", "bfloat16"]),
    memory_gb=st.sampled_from([2.0, 1e-6]),
    data=st.data(),
)
def test_neighbours_equal_those_searched_in_features(kind, seed, n, precision, memory_gb, data):
    """Also among equally similar samples, whose order is drawn by the numbers of the samples."""
    x = features(kind, seed, n, 6)
    k = data.draw(st.integers(1, n - 1))
    numbers = np.random.default_rng(seed).choice(1000, n, replace=False)
    same = {"key": key_of("model", 3), "numbers": numbers, "precision": precision}
    wanted = nearest(x, k, **same)
    of_kernel = nearest_by_kernel(kernel("", x), k, memory_gb=memory_gb, **same)
    np.testing.assert_array_equal(of_kernel.indices, wanted.indices)
    np.testing.assert_array_equal(of_kernel.ties, wanted.ties)
    assert of_kernel.indices.dtype == np.int32


def test_ties_are_drawn_by_the_content_of_a_kernel_without_a_key():
    first, second = (nearest_by_kernel(np.eye(20) + seed * 1e-3, 5).indices for seed in (0, 1))
    np.testing.assert_array_equal(first, nearest_by_kernel(np.eye(20), 5).indices)
    assert (first != second).any()


def test_a_search_does_not_change_the_kernel():
    single = K.astype(np.float32)
    before = single.copy()
    nearest_by_kernel(single, 3)
    Representation("x", kernels=[single]).knn(3)
    np.testing.assert_array_equal(single, before)


def test_galleries_of_kernels_equal_those_of_features():
    x = features("tied", 8, 60, 5)
    gallery = np.random.default_rng(1).permutation(60)[:40]
    of_features = sweeps.in_gallery("x", [x, None], gallery, 25, 6)
    of_kernels = sweeps.in_gallery("x", [kernel("", x), None], gallery, 25, 6, kernels=True)
    np.testing.assert_array_equal(of_kernels.knn(6), of_features.knn(6))
    np.testing.assert_array_equal(of_kernels.ties(6), of_features.ties(6))
    assert (of_kernels.n, of_kernels.gallery, of_kernels.left_out) == (25, 40, (1,))
    with pytest.raises(ValueError, match=r"x, layer 0 has shape \[60, 40\]; a kernel must be square"):
        sweeps.in_gallery("x", [kernel("", x)[:, :40]], gallery, 25, 6, kernels=True)
    constant = sweeps.in_gallery("x", [kernel("", x), np.eye(60)], gallery, 25, 6, kernels=True)
    assert constant.left_out == (1,)


# ---- dissimilarities


@pytest.mark.parametrize("distance", ["correlation", "euclidean", "cityblock"])
def test_rsa_of_dissimilarities_is_the_correlation_of_their_condensed_forms(distance):
    first, second = (pdist(features("random", seed, 25, 7), distance) for seed in (1, 2))
    x, y = (Representation(name, kernels=[prh.similarities(squareform(d))])
            for name, d in zip("xy", (first, second), strict=True))  # fmt: skip
    assert compare(x, y, "rsa").best == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-6)
    assert compare(x, y, "rsa_pearson").best == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 8e-3, 1, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scale_of_dissimilarities_decides_nothing(scale, dtype):
    """Similarities near 1 would not tell small dissimilarities apart in float32."""
    x = features("random", 1, 40, 7)
    y = Representation("y", [features("random", 2, 40, 7)])
    D = squareform(pdist(x, "euclidean"))
    for metric in ("mutual_knn", "cka", "rsa", "cknna"):
        wanted, measured = (
            compare(Representation("x", kernels=[prh.similarities(d)]), y, metric, 5).best
            for d in (D, (scale * D).astype(dtype))
        )
        assert measured == pytest.approx(wanted, abs=1e-4)


def test_correlation_distances_give_back_the_correlations():
    r = np.corrcoef(features("random", 1, 20, 9))
    similarities = prh.similarities(1 - r)
    np.testing.assert_allclose(similarities, r, atol=1e-15)
    np.testing.assert_array_equal(similarities, similarities.T)
    assert (similarities.diagonal() == 1).all()


@pytest.mark.parametrize("metric", ["cka", "cka_rbf", "unbiased_cka", "cknna", "cknna_paper"])
def test_half_of_squared_distances_is_the_kernel_of_the_features(metric):
    x, y = features("random", 1, 40, 6), features("random", 2, 40, 9)
    of_distances = Representation("x", kernels=[prh.similarities(squareform(pdist(x, "sqeuclidean")) / 2)])
    wanted = compare(Representation("x", [x]), Representation("y", [y]), metric, 5).best
    assert compare(of_distances, Representation("y", [y]), metric, 5).best == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_similarities_keep_the_type_of_the_dissimilarities(dtype):
    array = squareform(pdist(GOOD)).astype(dtype)
    assert prh.similarities(array).dtype == dtype
    tensor = torch.as_tensor(array)
    assert isinstance(prh.similarities(tensor), torch.Tensor)
    np.testing.assert_array_equal(prh.similarities(tensor).numpy(), prh.similarities(array))


DISTANCES = squareform(pdist(features("random", 1, 12, 5)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.corrcoef(GOOD), r"a, layer 2: the dissimilarity of samples \d+ and \d+ is -"),
        (np.abs(np.corrcoef(GOOD)), r"a, layer 2: the dissimilarity of sample \d+ to itself is 1; it must be 0"),
        (DISTANCES + np.eye(12), "a, layer 2: the dissimilarity of sample 0 to itself is 1; it must be 0"),
        (-DISTANCES, r"a, layer 2: the dissimilarity of samples \d+ and \d+ is -[\d.]+; dissimilarities cannot be neg"),
        (DISTANCES[:, :-1], r"a, layer 2 has shape \[12, 11\]; it must be square"),
        (pdist(features("random", 1, 12, 5)), r"a, layer 2 has shape \[66\]; .* squareform"),
        (np.where(np.eye(12), np.nan, DISTANCES), "a, layer 2 holds NaN"),
        (np.rint(DISTANCES).astype(int), "a, layer 2 holds int64; it must be floating"),
        (np.triu(DISTANCES), r"a, layer 2 is not symmetric"),
        (np.zeros((1, 1)), "a, layer 2 has one sample"),
    ],
    ids=[
        "correlations",
        "similarities",
        "diagonal",
        "negative",
        "oblong",
        "condensed",
        "nan",
        "integers",
        "triangle",
        "one-sample",
    ],
)
def test_bad_dissimilarities_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        prh.similarities(bad, name="a, layer 2")


def test_dissimilarities_may_be_off_by_rounding():
    noise = 1e-7 * np.random.default_rng(0).normal(size=(12, 12))
    similarities = prh.similarities((DISTANCES + noise).astype(np.float32))
    assert (similarities.diagonal() == 1).all()
    assert similarities.max() == 1
    np.testing.assert_allclose(similarities, 1 - DISTANCES, atol=1e-6)


# ---- what is refused


def with_entry(value, i=4, j=7, dtype=np.float64):
    changed = K.astype(dtype)
    changed[i, j] = changed[j, i] = value
    return changed


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (K[:, :-1], r"judges, layer 1 has shape \[30, 29\]; it must be square"),
        (K[:-1, :-1], "judges, layer 1 has 29 samples, but layer 0 has 30"),
        (K[0], r"judges, layer 1 has shape \[30\]; it must be a matrix \[n, n\]"),
        (K[:0, :0], r"judges, layer 1 has shape \[0, 0\]; it must be a matrix"),
        (with_entry(np.nan), "judges, layer 1 holds NaN or infinite values"),
        (with_entry(-np.inf), "judges, layer 1 holds NaN or infinite values"),
        (with_entry(1e39), "judges, layer 1 holds NaN or infinite values, or values beyond float32"),
        (1e-45 * K, "judges, layer 1 holds no value above .*too small for float32; multiply it"),
        (K.astype(complex), "judges, layer 1 holds complex128; it must be floating"),
        (K.astype(int), "judges, layer 1 holds int64; it must be floating"),
        (K > 0, "judges, layer 1 holds bool; it must be floating"),
        (K.astype(str), "judges, layer 1 holds <U32; it must be floating"),
        (K.astype(object), "judges, layer 1 holds object; it must be floating"),
        (np.tril(K), r"judges, layer 1 is not symmetric: entry \(\d+, \d+\) is .*; average it with its transpose"),
        (K + 1e-4 * np.tri(30), "judges, layer 1 is not symmetric"),
        (np.ones((1, 1)), "judges, layer 1 has one sample"),
        (np.ma.masked_array(K, mask=K > 0.9), "judges, layer 1 has masked values, which count as missing"),
        ([[1.0, 0.5], [0.5]], "judges, layer 1 is no array; its rows must have the same length"),
    ],
)
def test_bad_kernels_are_refused_by_name(bad, message):
    with pytest.raises(ValueError, match=message):
        Representation("judges", kernels=[K, bad])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernels": [K], "layers": [GOOD]}, "model has both layers and kernels; pass the layers alone"),
        ({"kernels": K}, r"model: kernels are a list of matrices \[n, n\], one per layer; pass one matrix as \[K\]"),
        ({"kernels": []}, "model has neither layers nor neighbours nor kernels"),
        ({"kernels": [K, K], "neighbours": [nearest_by_kernel(K, 3).indices]}, "2 kernels but neighbours of 1"),
        (
            {"kernels": [K], "neighbours": [nearest_by_kernel(K[:20, :20], 3).indices]},
            r"layers have \[20, 30\] samples",
        ),
        ({"kernels": [None]}, "model, layer 0: all similarities are equal"),
    ],
)
def test_bad_representations_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Representation("model", **arguments)


@pytest.mark.parametrize("metric", OF_FEATURES)
def test_metrics_of_features_refuse_kernels(metric):
    message = f"judges is given as kernels, but {metric} needs features; .* work from kernels: cka, cka_rbf, .*rsa_pear"
    x, y = Representation("judges", kernels=[K]), Representation("model", [GOOD])
    for pair in ((x, y), (y, x), (y, x.reordered(np.arange(30)[::-1]))):
        with pytest.raises(ValueError, match=message):
            compare(*pair, metric)


def test_a_metric_that_reads_features_of_kernels_all_the_same_is_refused():
    with pytest.raises(ValueError, match="judges has only kernels, but this metric needs features: pass layers"):
        Representation("judges", kernels=[K]).layers  # noqa: B018
    with pytest.raises(ValueError, match="model has no kernels"):
        Representation("model", [GOOD]).kernels  # noqa: B018


def test_a_metric_takes_no_array_beside_a_representation():
    with pytest.raises(ValueError, match="cka takes two arrays or two representations; wrap the array"):
        prh.metrics.cka(Representation("judges", kernels=[K]), GOOD)


def test_other_samples_are_refused():
    with pytest.raises(ValueError, match="judges has 30 samples and model has 20"):
        compare(Representation("judges", kernels=[K]), Representation("model", [GOOD[:20]]), "cka")


def test_distances_need_samples_that_are_most_similar_to_themselves():
    hollow = K - np.diag(K.diagonal())
    x, y = Representation("judges", kernels=[hollow]), Representation("model", [GOOD])
    with pytest.raises(ValueError, match=r"judges, layer 0: samples \d+ and \d+ are more similar to each other"):
        compare(x, y, "cka_rbf")
    assert compare(x, y, "unbiased_cka").best == pytest.approx(
        compare(Representation("judges", kernels=[K]), y, "unbiased_cka").best, abs=1e-6
    )  # which does not read the diagonal


@pytest.mark.parametrize("metric", [name for name in WORKING if METRICS[name].needs != "neighbours"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_one_number_per_sample_have_no_score(metric, dtype):
    """All distances are 0, and nothing is left after centring but rounding, which would have a score."""
    numbers = np.random.default_rng(0).uniform(1, 2, 30)
    x = Representation("judges", kernels=[(numbers[:, None] + numbers).astype(dtype)])
    if metric == "cknna_official":
        assert np.isfinite(compare(x, Representation("y", [GOOD]), metric, 5).best)  # it does not centre kernels
        return
    with pytest.raises(ValueError, match=f"{metric} of judges layer 0 and y layer 0 is not a number"):
        compare(x, Representation("y", [GOOD]), metric, 5)


def test_kernels_that_exceed_the_memory_are_refused():
    sides = (Representation(name, kernels=[judged(seed)], memory_gb=1e-7) for seed, name in enumerate("xy"))
    with pytest.raises(ValueError, match=r"x: 1 matrices of 30 x 30 need .*raise it, or compare fewer samples"):
        compare(*sides, "cka")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"K": K, "k": 0}, "k must be an integer from 1 to 29"),
        ({"K": K, "k": 30}, "k must be an integer from 1 to 29"),
        ({"K": K, "k": 3, "precision": "float16"}, "precision is 'float16'"),
        ({"K": K[:, :20], "k": 3}, "30 rows and 20 columns"),
        ({"K": with_entry(np.nan), "k": 3}, "K holds NaN"),
    ],
)
def test_bad_searches_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        nearest_by_kernel(**arguments)


# ---- rounding, constant kernels, tables


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 1e-3), (np.float32, 1e-6), (np.float64, 1e-6)])
def test_a_kernel_may_be_asymmetric_by_rounding(dtype, tolerance):
    noise = np.random.default_rng(0).uniform(-tolerance, tolerance, K.shape)
    symmetric = as_kernel((K + noise).astype(dtype), "judges")
    assert bool((symmetric == symmetric.T).all())
    assert symmetric.dtype == (torch.float64 if dtype is np.float64 else torch.float32)
    np.testing.assert_allclose(symmetric.numpy(), K, atol=3 * tolerance)


def test_a_good_kernel_is_not_copied():
    for matrix in (K, K.astype(np.float32)):
        assert np.shares_memory(as_kernel(matrix, "judges").numpy(), matrix)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_kernels_are_left_out(dtype):
    noise = 2.0**-23 * np.random.default_rng(0).integers(-2, 3, (30, 30))
    equal = [np.eye(30), np.ones((30, 30)), np.diag(np.arange(30.0)), np.ones((30, 30)) + noise + noise.T]
    equal = [matrix.astype(dtype) for matrix in equal]
    for matrix in equal:
        with pytest.raises(ValueError, match="judges, layer 0: all similarities are equal, so no sample is nearer"):
            Representation("judges", kernels=[matrix])
    with pytest.raises(ValueError, match="judges: all similarities of each of its layers are equal"):
        Representation("judges", kernels=equal)
    x = Representation("judges", kernels=[equal[0], K.astype(dtype), None])
    assert (len(x), x.total, x.left_out) == (1, 3, (0, 2))
    alignment = compare(x, Representation("y", [GOOD]), "cka")
    assert alignment.layers == (1, 0)
    assert np.isnan(alignment.scores[[0, 2]]).all()
    with pytest.raises(ValueError, match="judges, layer 0: all similarities are equal; compare another layer"):
        x.layer(0)


def test_small_differences_of_an_exact_kernel_are_no_rounding():
    """Features on a common offset have cosines that differ by less than float32 can tell, which float64 can."""
    x = prh.prepare((features("random", 3, 40, 6) * 1e-4 + 1).astype(np.float32), clamp=None)
    exact = as_kernel(kernel("cka", x), "x")
    assert not is_constant_kernel(exact)
    y = Representation("y", [features("random", 4, 40, 6)])
    wanted = compare(Representation("x", [x]), y, "cka").best
    assert compare(Representation("x", kernels=[exact]), y, "cka").best == pytest.approx(wanted, rel=1e-2)
    assert is_constant_kernel(exact.float())
    assert is_constant_kernel(exact.float().double())


def test_a_kernel_that_is_constant_within_a_half_is_left_out_of_that_split():
    """Only sample 0 is nearer to some than to others."""
    star = np.eye(20)
    star[0, 1:] = star[1:, 0] = np.linspace(0.1, 0.9, 19)
    x, y = Representation("x", kernels=[star]), Representation("y", kernels=[judged(n=20)])
    assert crossfit(x, y, "cka", None, 3, np.random.default_rng(0)) == (None, None)


def test_tables_of_neighbours_serve_beside_kernels():
    lists = nearest_by_kernel(K, 4, key=key_of("other", 0))
    x = Representation("judges", kernels=[K], neighbours=[lists.indices], ties=[lists.ties])
    np.testing.assert_array_equal(x.knn(4)[0], lists.indices)
    np.testing.assert_array_equal(x.knn(9)[0], nearest_by_kernel(K, 9).indices)  # deeper than the table
    assert x.depth == 29
    assert len(x.layer(0).kernels) == 1


def test_arrays_and_representations_are_aligned_with_each_other():
    wanted = align(Representation("judges", kernels=[K]), [GOOD], "cka", permutations=9)
    assert align([GOOD], Representation("judges", kernels=[K]), "cka").best == pytest.approx(wanted.best)
    assert wanted.p <= 1
    assert isinstance(prh.metrics.cka(Representation("a", kernels=[K]), Representation("b", [GOOD])), np.ndarray)
