"""What is compared, as read from tables: groups of samples, prepared layers, neighbours."""

import json
import subprocess
import sys

import numpy as np
import pytest

from prh.alignment import representations
from prh.core.neighbours import nearest
from prh.core.preparation import prepare
from prh.datasets.samples import Columns, Sample
from prh.datasets.sharding import shard
from prh.io import tables
from tests.unit.test_datasets import picture


@pytest.fixture
def shards(tmp_path):
    groups = ["b", "b", None, "a", None, "b"]
    samples = [Sample(f"s{i}", picture(i), None, ("x",), group_id=group) for i, group in enumerate(groups)]
    shard(samples, tmp_path / "shards", Columns(), shard_size=4)
    return tmp_path / "shards"


def test_a_sample_without_a_group_is_one_of_its_own(shards):
    assert representations.read_groups(shards, [f"s{i}" for i in range(6)]).tolist() == [0, 0, 1, 2, 3, 0]


def test_groups_of_other_samples_are_not_taken(shards):
    with pytest.raises(tables.TableError, match="do not hold the same samples: the order differs"):
        representations.read_groups(shards, [f"s{i}" for i in (1, 0, 2, 3, 4, 5)])


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
    made = representations.prepared(tmp_path / "f.parquet", preparation)
    for i, layer in enumerate(layers):
        np.testing.assert_array_equal(next(made), prepare(layer, **preparation))
        assert seen == [["layer_00"], ["layer_01"]][: i + 1]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_program_finds_neighbours_of_prepared_layers(tmp_path, repository, scope):
    layers = two_layers(tmp_path / "f.parquet")
    preparation = {"clamp": 0.9, "clamp_scope": scope, "normalise": True}
    command = [sys.executable, repository / "workflow_scripts/neighbours.py", "--memory-gb", "1e-5"]
    settings = ["--spec", json.dumps({"alignment": {**preparation, "k_max": 12}}), "--features", tmp_path / "f.parquet"]
    subprocess.run([*command, *settings, "--output", tmp_path / "n.parquet"], check=True, capture_output=True)
    found = representations.representation("m", None, tmp_path / "n.parquet", preparation)
    wanted = [nearest(layer, 12).indices for layer in prepare(layers, **preparation)]
    np.testing.assert_array_equal(found.knn(12), wanted)
    assert found.ties(5).tolist() == [0, 0]
