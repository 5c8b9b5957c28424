"""Layers as they are compared: what is left out as the same for all samples, what the clamp empties, whose quantile."""

import numpy as np
import pytest
import torch

from prh.core.preparation import OFFICIAL, is_constant, prepare, prepared_layers

RNG = np.random.default_rng(0)
ROW = RNG.normal(size=24)
OWN = {"clamp": 0.95, "normalise": True, "clamp_scope": "layer"}


def rows(make, n=50):
    return np.stack([make(i) for i in range(n)]).astype(np.float32)


def prepared(layer, **settings):
    return next(prepared_layers([("m, layer_00", layer)], **{**OWN, **settings}))


CONSTANT = {
    "equal rows": rows(lambda i: ROW),
    "a dead layer": np.zeros((50, 24), np.float32),
    "equal but for rounding": rows(lambda i: ROW * (1 + 2.0**-23 * RNG.integers(-2, 3, 24))),
    "equal but for the noise of float32 passes": rows(lambda i: ROW + 3e-7 * RNG.normal(size=24)),
    "equal after the clamp": rows(lambda i: np.r_[np.full(3, 50 + i), np.ones(21)]),
    "of one direction": rows(lambda i: (1 + i) * ROW),
}


@pytest.mark.parametrize("layer", CONSTANT.values(), ids=CONSTANT)
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_layers_that_say_the_same_of_all_samples_are_left_out(layer, scope):
    clamp = 0.8 if layer is CONSTANT["equal after the clamp"] else None
    assert prepared(layer, clamp=clamp, clamp_scope=scope) is None


DIFFERING = {
    "a spread of 1e-4 on a common offset": rows(lambda i: 3 * ROW + 1e-4 * RNG.normal(size=24)),
    "one sample of fifty": rows(lambda i: ROW + (i == 7) * 0.01),
    "a dimension a million times larger": rows(lambda i: np.r_[1e4, 0.01 * RNG.normal(size=23)]),
    "two kinds": rows(lambda i: ROW if i % 2 else -ROW),
}


@pytest.mark.parametrize("layer", DIFFERING.values(), ids=DIFFERING)
def test_small_differences_are_differences(layer):
    np.testing.assert_array_equal(prepared(layer), prepare(layer))


def test_lengths_are_a_difference_where_rows_are_not_normalised():
    assert prepared(CONSTANT["of one direction"], normalise=False, clamp=None) is not None
    assert not is_constant(torch.from_numpy(CONSTANT["of one direction"]))


def test_a_quantile_over_all_layers_looks_at_those_left_out_too():
    layers = [100 * CONSTANT["equal rows"], DIFFERING["two kinds"] + RNG.normal(size=(50, 24)).astype(np.float32)]
    named = [(f"m, layer_{i:02d}", layer) for i, layer in enumerate(layers)]
    one, other = prepared_layers(named, **{**OWN, "clamp_scope": "global"})
    assert one is None
    np.testing.assert_array_equal(other, prepare(layers, clamp_scope="global")[1])


def test_layers_are_prepared_one_at_a_time():
    def read():
        yield "m, layer_00", DIFFERING["one sample of fifty"]
        raise AssertionError("read ahead")

    assert next(prepared_layers(read(), **OWN)).shape == (50, 24)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_clamp_that_empties_sparse_features_is_told(normalise):
    sparse = np.where(RNG.random((50, 24)) < 0.03, 1.0, 0.0).astype(np.float32)
    message = (
        r"m, layer_00: clamp = 0.95 would set every value to 0, because 9\d\.\d% of .* raise clamp above that share"
    )
    with pytest.raises(ValueError, match=message):
        prepared(sparse, normalise=normalise)
    with pytest.raises(ValueError, match=r"x: clamp = 0\.95 would set every value to 0"):
        prepare(sparse, normalise=normalise)


def test_a_row_that_was_zero_is_named_as_before():
    layer = DIFFERING["two kinds"].copy()
    layer[3] = 0
    with pytest.raises(ValueError, match="m, layer_00: row 3 is all zeros and has no direction"):
        prepared(layer)


def test_the_mean_of_the_quantiles_of_samples():
    layers = [RNG.normal(size=(70, d)).astype(np.float32) for d in (5, 8)]
    limit = np.mean([np.quantile(np.abs(np.r_[a, b]), 0.9) for a, b in zip(*layers, strict=True)])
    made = prepare(layers, 0.9, False, "global", "sample_mean")
    for layer, one in zip(layers, made, strict=True):
        np.testing.assert_allclose(one, np.clip(layer, -limit, limit), rtol=1e-6)
    per_layer = prepare(layers, 0.9, False, "layer", "sample_mean")
    limit = np.quantile(np.abs(layers[1]), 0.9, axis=1).mean()
    np.testing.assert_allclose(per_layer[1], np.clip(layers[1], -limit, limit), rtol=1e-6)


def test_bfloat16_rows_have_eight_bits():
    made = prepare(RNG.normal(size=(20, 6)), precision="bfloat16")
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, torch.from_numpy(made).bfloat16().float())
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=0.01)


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_preparations_are_arguments_of_prepare(name):
    layers = [RNG.normal(size=(20, 6)).astype(np.float32) for _ in range(2)]
    made = list(prepared_layers([("a", layers[0]), ("b", layers[1])], **OFFICIAL[name]))
    np.testing.assert_array_equal(made, prepare(layers, **OFFICIAL[name]))


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e-38])
def test_rows_whose_squares_lie_beyond_float32_keep_their_direction(scale):
    layer = RNG.normal(size=(20, 6)).astype(np.float32)
    np.testing.assert_allclose(prepare((layer * scale).astype(np.float32)), prepare(layer), atol=1e-5)
    layer[3] = 0
    with pytest.raises(ValueError, match="row 3 is all zeros"):
        prepare((layer * scale).astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantile": "mean"}, "quantile is 'mean'; it must be 'exact' or 'sample_mean'"),
        ({"precision": "float16"}, "precision is 'float16'; it must be 'float32' or 'bfloat16'"),
    ],
)
def test_settings_are_known(settings, message):
    with pytest.raises(ValueError, match=message):
        prepare(np.ones((3, 2)), **settings)
