"""Rows of many models, and the groups of their samples."""

import json
import subprocess
import sys

import numpy as np
import pytest

from prh import comparisons, datasets, tables
from prh.alignment import Representation, _order, prepare
from prh.comparisons import Settings, read_groups, sweep_row
from prh.neighbours import nearest
from tests.unit.test_datasets import picture


@pytest.fixture
def shards(tmp_path):
    groups = ["b", "b", None, "a", None, "b"]
    samples = [datasets.Sample(f"s{i}", picture(i), None, ("x",), group_id=group) for i, group in enumerate(groups)]
    datasets.shard(samples, tmp_path / "shards", datasets.Columns(), shard_size=4)
    return tmp_path / "shards"


def test_a_sample_without_a_group_is_one_of_its_own(shards):
    assert read_groups(shards, [f"s{i}" for i in range(6)]).tolist() == [0, 0, 1, 2, 3, 0]


def test_groups_of_other_samples_are_not_taken(shards):
    with pytest.raises(tables.TableError, match="do not hold the same samples: the order differs"):
        read_groups(shards, [f"s{i}" for i in (1, 0, 2, 3, 4, 5)])


def two_layers(path):
    """A features table of 40 samples whose second layer is larger than the first, written to ``path``; its layers."""
    rng = np.random.default_rng(0)
    layers = [(scale * rng.normal(size=(40, 6))).astype(np.float32) for scale in (1, 5)]
    ids = [f"s{i}" for i in range(40)]
    tables.write(tables.layers_table(ids, layers), path, {"model": "m", "layer_names": ["a", "b"]})
    return layers


def test_layers_are_read_one_by_one_as_they_are_used(tmp_path, monkeypatch):
    layers, seen = two_layers(tmp_path / "f.parquet"), []
    read = tables.read
    monkeypatch.setattr(tables, "read", lambda path, columns=None: (seen.append(columns), read(path, columns))[1])
    preparation = {"clamp": 0.9, "clamp_scope": "layer", "normalise": True}
    made = comparisons.prepared(tmp_path / "f.parquet", preparation)
    for i, layer in enumerate(layers):
        np.testing.assert_array_equal(next(made), prepare(layer, **preparation))
        assert seen == [["layer_00"], ["layer_01"]][: i + 1]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_program_finds_neighbours_of_prepared_layers(tmp_path, repository, scope):
    layers = two_layers(tmp_path / "f.parquet")
    preparation = {"clamp": 0.9, "clamp_scope": scope, "normalise": True}
    command = [sys.executable, repository / "workflow_scripts/neighbours.py", "--memory-gb", "1e-5"]
    settings = ["--spec", json.dumps({**preparation, "k_max": 12}), "--features", tmp_path / "f.parquet"]
    subprocess.run([*command, *settings, "--output", tmp_path / "n.parquet"], check=True, capture_output=True)
    found = comparisons.representation("m", None, tmp_path / "n.parquet", preparation)
    wanted = [nearest(layer, 12).indices for layer in prepare(layers, **preparation)]
    np.testing.assert_array_equal(found.knn(12), wanted)
    assert found.ties(5).tolist() == [0, 0]


def clusters(rng, groups):
    """Samples near those of their group, which are anywhere."""
    centres = rng.normal(size=(groups.max() + 1, 8))[groups]
    return [(centres + 0.1 * rng.normal(size=centres.shape)).astype(np.float32)]


def test_a_sweep_permutes_groups_as_wholes():
    """Clusters known to both models, matched at random: free permutations call that alignment at every n."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(60), 3))
    settings = Settings(k=(2,), permutations=99, subsamples=0, splits=0, alpha=0.05, seed=0)
    free, whole = [], []
    for _ in range(5):
        x, y = clusters(rng, groups), clusters(rng, groups)
        for found, given in ((free, None), (whole, groups)):
            found += sweep_row(("x", x), [("y", y)], "mutual_knn", [90, 180], settings, given)["p"].to_list()
    assert max(free) < 0.05
    assert np.median(whole) > 0.1


def test_groups_of_a_gallery_stay_whole_in_it():
    labels = np.repeat(np.arange(20), 3)
    order = comparisons._sweep_order(60, 0, np.random.default_rng(1).permutation(labels))
    assert sorted(order) == list(range(60))
    in_order = np.random.default_rng(1).permutation(labels)[order]
    assert (in_order.reshape(20, 3) == in_order[::3, None]).all()
    x = Representation("x", neighbours=[np.arange(30)[:, None] + [1, 2]], gallery=60)
    order = _order(np.random.default_rng(0), x, labels)
    assert sorted(order[:30]) == list(range(30)), "queries stay among queries"
    assert (labels[order].reshape(20, 3) == labels[order][::3, None]).all()
    assert not np.array_equal(order[30:], np.arange(30, 60))


def test_large_groups_of_a_gallery_do_not_come_first():
    """By their first member they would: half of the samples are one group, which then leads in half of the orders."""
    labels = np.r_[np.zeros(50, int), np.arange(1, 51)]
    leads = [labels[comparisons._sweep_order(100, seed, labels)[0]] == 0 for seed in range(100)]
    assert np.mean(leads) < 0.15  # 1 / 51 is expected
