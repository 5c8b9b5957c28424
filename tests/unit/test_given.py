"""Features and kernels that users bring: every format, how rows are matched with samples, and what is wrong with a file."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from prh.core.kernel_inputs import similarities
from prh.experiment.loading import ConfigError, load
from prh.features import given as given_tables
from prh.io import tables
from prh.models.given import Part, features, kernels
from prh.models.given.arrays import GivenError, natural

SAMPLES = [f"{letter}.png" for letter in "cabed"]
X = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
"""Two layers of the samples, in their order."""
SHUFFLED = [3, 1, 4, 0, 2]
IDS = [SAMPLES[i] for i in SHUFFLED]


def entry(order=None, kind="dissimilarity"):
    return SimpleNamespace(order=order, kind=kind)


def joined(parts) -> tuple[list[str], list[np.ndarray]]:
    parts = list(parts)
    return list(parts[0].names), [np.concatenate(layer) for layer in zip(*(part.layers for part in parts), strict=True)]


def read(path, order=None):
    return joined(features.read(entry(order), path, SAMPLES, "photos"))


def listed(layer):
    return pa.FixedSizeListArray.from_arrays(pa.array(layer.ravel()), layer.shape[1])


# ---- a writer for each format: each writes both layers, shuffled, with ids -------------------------------------------


def npz(folder):
    np.savez(folder / "x.npz", sample_id=np.array(IDS), first=X[SHUFFLED, 0], second=X[SHUFFLED, 1].astype(np.float64))
    return folder / "x.npz"


def parquet(folder):
    columns = {"sample_id": IDS, "first": listed(X[SHUFFLED, 0]), "second": pa.array(X[SHUFFLED, 1].tolist())}
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return folder / "x.parquet"


def safetensors(folder):
    layers = {"first": torch.tensor(X[SHUFFLED, 0]), "second": torch.tensor(X[SHUFFLED, 1])}
    save_file(layers, folder / "x.safetensors", {"sample_ids": json.dumps(IDS)})
    return folder / "x.safetensors"


def hdf5(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        file["sample_id"] = IDS
        file["deep/first"], file["deep/second"] = X[SHUFFLED, 0], X[SHUFFLED, 1]
    return folder / "x.h5"


def one_file_a_layer(folder):
    (folder / "layers").mkdir()
    np.save(folder / "layers/layer_2.npy", X[SHUFFLED, 0])
    np.save(folder / "layers/layer_10.npy", X[SHUFFLED, 1])
    (folder / "layers/sample_ids.txt").write_text("\n".join(IDS) + "\n")
    return folder / "layers"


@pytest.mark.parametrize("write", [npz, parquet, safetensors, hdf5, one_file_a_layer])
def test_each_format_gives_the_rows_of_the_samples(tmp_path, write):
    names, layers = read(write(tmp_path))
    assert [name.split("/")[-1] for name in names] in (["first", "second"], ["layer_2", "layer_10"])
    for number, layer in enumerate(layers):
        assert layer.dtype == np.float32
        np.testing.assert_array_equal(layer, X[:, number])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_numpy_file_holds_one_layer_or_many(tmp_path, dtype, layers):
    values = (X if layers == 2 else X[:, 0]).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    names, found = read(tmp_path / "x.npy", "dataset")
    assert names == (["x_0", "x_1"] if layers == 2 else ["x"])
    np.testing.assert_array_equal(np.stack(found, 1), values.astype(np.float32).reshape(5, layers, 3))


def test_bfloat16_and_a_wide_table(tmp_path):
    save_file({"x": torch.tensor(X[:, 0]).bfloat16()}, tmp_path / "x.safetensors")
    _, (layer,) = read(tmp_path / "x.safetensors", "dataset")
    np.testing.assert_array_equal(layer, torch.tensor(X[:, 0]).bfloat16().float().numpy())
    pq.write_table(
        pa.table({"sample_id": IDS, **{f"f{i}": X[SHUFFLED, 0, i] for i in range(3)}}), tmp_path / "w.parquet"
    )
    _, (layer,) = read(tmp_path / "w.parquet")
    np.testing.assert_array_equal(layer, X[:, 0])


def test_features_are_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "ROWS", 2)
    parts = list(features.read(entry(), npz(tmp_path), SAMPLES, "photos"))
    assert [len(part.layers[0]) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([part.layers[1] for part in parts]), X[:, 1])


def test_numbers_in_names_count_as_numbers():
    assert sorted(["b10", "b2", "a", "b"], key=natural) == ["a", "b", "b2", "b10"]


def test_samples_that_the_data_set_does_not_have_are_left_out(tmp_path):
    np.savez(tmp_path / "x.npz", sample_id=["more", *SAMPLES], x=np.vstack([X[:1, 0], X[:, 0]]))
    _, (layer,) = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(layer, X[:, 0])


WRONG = {
    "no ids": (lambda f: np.save(f / "x.npy", X[:, 0]), "x.npy", None, "has no sample_id, so nothing says .* 'order: dataset'"),
    "other count": (lambda f: np.save(f / "x.npy", X[:4, 0]), "x.npy", "dataset", "has 4 rows and data set 'photos' has 5 samples"),
    "double id": (lambda f: np.savez(f / "x.npz", sample_id=[*IDS[:4], IDS[0]], x=X[:, 0]), "x.npz", None, "has the sample id 'e.png' more than once"),
    "missing id": (lambda f: np.savez(f / "x.npz", sample_id=[*IDS[:4], "z"], x=X[:, 0]), "x.npz", None, "lacks 1 of the 5 samples of data set 'photos', such as 'b.png'; its own ids are like 'e.png'"),
    "ids of other rows": (lambda f: np.savez(f / "x.npz", sample_id=IDS[:4], x=X[:, 0]), "x.npz", None, "has 4 sample ids for 5 rows"),
    "layers of other samples": (lambda f: np.savez(f / "x.npz", x=X[:, 0], y=X[:4, 0]), "x.npz", "dataset", "y has 4 rows and x has 5; all layers must have the same samples"),
    "nan": (lambda f: np.save(f / "x.npy", np.where(np.arange(3) == 1, np.nan, X[:, 0])), "x.npy", "dataset", "x: NaN or infinite feature for sample 'c.png'"),
    "beyond float32": (lambda f: np.save(f / "x.npy", X[:, 0].astype(float) * 1e300), "x.npy", "dataset", "NaN or infinite feature"),
    "one-dimensional": (lambda f: np.save(f / "x.npy", X[:, 0, 0]), "x.npy", "dataset", r"has shape \[5\]; features must be \[samples, width\]"),
    "complex": (lambda f: np.save(f / "x.npy", X[:, 0].astype(complex)), "x.npy", "dataset", "holds complex numbers"),
    "whole numbers": (lambda f: np.save(f / "x.npy", X[:, 0].astype(int)), "x.npy", "dataset", "holds int64, no floating numbers; convert it"),
    "text": (lambda f: np.save(f / "x.npy", X[:, 0].astype(str)), "x.npy", "dataset", "holds <U32, no floating numbers"),
    "objects": (lambda f: np.save(f / "x.npy", np.array([[{}], [{}]])), "x.npy", "dataset", "cannot be read .*Python objects"),
    "text column": (lambda f: pq.write_table(pa.table({"sample_id": IDS, "a": X[:, 0, 0], "b": IDS}), f / "x.parquet"), "x.parquet", None, "column 'b' is string, no number; leave it out"),
    "ragged": (lambda f: pq.write_table(pa.table({"sample_id": IDS, "a": [[1.0], [2.0], [3.0], [1.0, 2.0], []]}), f / "x.parquet"), "x.parquet", None, "column 'a' has rows of different lengths"),
    "empty cell": (lambda f: pq.write_table(pa.table({"sample_id": IDS, "a": [[1.0], [2.0], [3.0], None, [1.0]]}), f / "x.parquet"), "x.parquet", None, "column 'a' has empty cells"),
    "truncated": (lambda f: (f / "x.npz").write_bytes(npz(f).read_bytes()[:200]), "x.npz", None, "cannot be read .*is it whole"),
    "empty": (lambda f: (f / "x.safetensors").write_bytes(b""), "x.safetensors", None, "cannot be read"),
    "no h5": (lambda f: (f / "x.h5").write_text("x"), "x.h5", None, "cannot be read"),
    "no array": (lambda f: np.savez(f / "x.npz", sample_id=IDS), "x.npz", None, "holds no array of numbers"),
    "unknown ending": (lambda f: (f / "x.mat").write_text("x"), "x.mat", None, r"must be a folder or end in \.npy, \.npz"),
    "not there": (lambda f: None, "x.npy", None, "does not exist"),
    "empty folder": (lambda f: (f / "x").mkdir(), "x", None, "holds no file that ends in"),
    "two layers in a file of a folder": (lambda f: ((f / "x").mkdir(), npz(f / "x")), "x", None, "holds 2 arrays; in a folder each file is one layer"),
    "no samples": (lambda f: np.save(f / "x.npy", X[:0, 0]), "x.npy", "dataset", r"has shape \[0, 3\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path, case):
    write, name, order, message = WRONG[case]
    write(tmp_path)
    with pytest.raises(GivenError, match=message) as caught:
        read(tmp_path / name, order)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- kernels --------------------------------------------------------------------------------------------------------

D = np.abs(np.subtract.outer(X[:, 0, 0], X[:, 0, 0])).astype(np.float64)
"""Dissimilarities of the samples, in their order."""


def read_kernels(path, order=None, kind="dissimilarity"):
    return joined(kernels.read(entry(order, kind), path, SAMPLES, "photos"))


def csv_table(folder):
    lines = [
        ",".join(["", *IDS]),
        *(",".join([name, *map(str, row)]) for name, row in zip(IDS, D[SHUFFLED][:, SHUFFLED], strict=True)),
    ]
    (folder / "d.csv").write_text("\n".join(lines))
    return folder / "d.csv"


def csv_without_corner(folder):
    (folder / "d.csv").write_text(
        "\n".join([",".join(IDS), *(",".join(map(str, row)) for row in D[SHUFFLED][:, SHUFFLED])])
    )
    return folder / "d.csv"


def rdms(folder):
    """As `rsatoolbox.rdm.RDMs.save` writes them."""
    upper = np.triu_indices(5, 1)
    with h5py.File(folder / "d.h5", "w") as file:
        file["dissimilarities"] = D[SHUFFLED][:, SHUFFLED][upper][None]
        file["rdm_descriptors/index"], file["rdm_descriptors/roi"] = np.arange(1), np.array(["IT"], "S")
        file["pattern_descriptors/index"], file["pattern_descriptors/sample_id"] = np.arange(5), np.array(IDS, "S")
        file.create_group("descriptors")
        file.attrs["dissimilarity_measure"] = "euclidean"
    return folder / "d.h5"


def matrices(folder):
    np.savez(folder / "d.npz", sample_id=np.array(IDS), IT=D[SHUFFLED][:, SHUFFLED])
    return folder / "d.npz"


@pytest.mark.parametrize("write", [csv_table, csv_without_corner, rdms, matrices])
def test_dissimilarities_become_the_similarities_of_the_samples(tmp_path, write):
    names, (kernel,) = read_kernels(write(tmp_path))
    assert names in (["IT"], ["d"])
    np.testing.assert_allclose(kernel, similarities(D).astype(np.float32))


def test_many_matrices_in_one_array(tmp_path):
    np.save(tmp_path / "k.npy", np.stack([1 - D, np.exp(-D)]))
    names, found = read_kernels(tmp_path / "k.npy", "dataset", "similarity")
    assert names == ["k_0", "k_1"]
    np.testing.assert_allclose(found[1], np.exp(-D), rtol=1e-6)


WRONG_KERNELS = {
    "not square": (lambda f: np.save(f / "d.npy", D[:4]), "d.npy", r"has shape \[4, 5\]; a kernel is \[samples, samples\]"),
    "condensed": (lambda f: np.save(f / "d.npy", D[0]), "d.npy", "unfold it with scipy.spatial.distance.squareform"),
    "not symmetric": (lambda f: np.save(f / "d.npy", D + np.triu(D)), "d.npy", "is not symmetric"),
    "diagonal": (lambda f: np.save(f / "d.npy", D + np.eye(5)), "d.npy", "dissimilarity of sample 0 to itself is 1; it must be 0"),
    "negative": (lambda f: np.save(f / "d.npy", -D), "d.npy", "dissimilarities cannot be negative"),
    "nan": (lambda f: np.save(f / "d.npy", np.where(D.max() == D, np.nan, D)), "d.npy", "NaN or infinite"),
    "words": (lambda f: (f / "d.csv").write_text("a,b\nx,y\nu,v"), "d.csv", "is no table of numbers"),
    "other headings": (lambda f: (f / "d.csv").write_text("a,b\na,0,1\nz,1,0"), "d.csv", "do not name the same samples"),
    "other count": (lambda f: np.save(f / "d.npy", D[:4, :4]), "d.npy", "has 4 rows and data set 'photos' has 5 samples"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_KERNELS)
def test_a_wrong_kernel_is_told_in_one_sentence(tmp_path, case):
    write, name, message = WRONG_KERNELS[case]
    write(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_kernels(tmp_path / name, "dataset")
    assert str(tmp_path) in str(caught.value)


# ---- the table, and the experiment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_kernel", [False, True])
def test_parts_become_one_table(tmp_path, is_kernel):
    parts = [Part(["a"], [X[:2, 0]], is_kernel), Part(["a"], [X[2:, 0]], is_kernel)]
    given_tables.write(iter(parts), SAMPLES, tmp_path / "x.parquet", {"model": "m"})
    table = tables.read(tmp_path / "x.parquet")
    (name,) = tables.layer_columns(table.schema)
    assert name == ("kernel_00" if is_kernel else "layer_00")
    assert tables.holds_kernels(table.schema) == is_kernel
    np.testing.assert_array_equal(tables.layer_array(table, name), X[:, 0])
    footer = tables.require(tmp_path / "x.parquet", model="m", samples=tables.digest_of_samples(SAMPLES))
    assert footer["layer_names"] == ["a"]


def experiment(**changes):
    mine = {"name": "mine", "modality": "brain", "source": "features", "files": {"photos": "x.npy"}} | changes
    return {
        "datasets": [{"name": "photos", "source": "local", "path": "photos"}],
        "models": [{"name": "vit", "modality": "vision", "source": "random", "id": "test_vit"}, mine],
        "alignment": {"metrics": ["mutual_knn", "svcca"]},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"foto": "x.npy"}}, "models, entry 'mine', files: there is no data set 'foto' (did you mean 'photos'?)."),
        ({"files": {}}, "models, entry 'mine', files: Dictionary should have at least 1 item"),
        ({"files": {"photos": "y.npy"}}, "model 'mine': path y.npy does not exist"),
        ({"order": "mine"}, "models, entry 'mine', order: 'mine' is not one of 'dataset'"),
        ({"pooling": "cls"}, "models, entry 'mine': unknown key 'pooling'"),
        ({"modality": "world"}, "'modality' world is the known kernel of the idealised world"),
        ({"source": "kernel"}, "models, entry 'mine': the key 'kind' is missing"),
        ({"source": "kernel", "kind": "similarity"}, "models, entry 'mine': it is a kernel, but metric 'svcca' needs features"),
        ({"source": "hub"}, "models, entry 'mine': unknown 'modality' 'brain'; known: 'vision', 'language', 'world'."),
    ],
)  # fmt: skip
def test_a_wrong_entry_is_told_in_one_sentence(tmp_path, changes, message):
    (tmp_path / "photos").mkdir()
    np.save(tmp_path / "x.npy", X[:, 0])
    with pytest.raises(ConfigError) as caught:
        load(experiment(**changes), tmp_path)
    assert message in str(caught.value)
