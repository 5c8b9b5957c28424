"""Scores against a bank are the numbers of the workflow's own rows, from every kind of input, or one sentence."""

import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

import prh
from prh.__main__ import main
from prh.alignment import comparisons, representations
from prh.alignment.comparisons import compare_in_order
from prh.bank import feature_files
from prh.bank.places import BankError
from prh.io import tables

N = 60
IDS = [f"s{i:02d}" for i in range(N)]
RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=(N, 5))


def layers(seed, widths=(12, 9, 7)):
    rng = np.random.default_rng(seed)
    return [(SHARED @ rng.normal(size=(5, d)) + rng.normal(size=(N, d))).astype(np.float32) for d in widths]


MODELS = {
    "first": layers(1),
    "second": [np.ones((N, 3), np.float32), *layers(2)],  # its first layer is the same for all samples
    "words": [np.round(layers(3, [4])[0]) + 0.5],  # with ties
    "noise": [np.random.default_rng(9).normal(size=(N, 6)).astype(np.float32)],
}
MODALITIES = {"first": "vision", "second": "vision", "words": "language"}
MINE = layers(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    prh.make_bank(folder, MODELS, dataset="d", sample_ids=IDS, modalities=MODALITIES, features=True, k_max=20)
    return folder


@pytest.fixture(scope="module")
def bank(folder):
    return prh.Bank(folder)


def expected(bank, x, metric, k=5, permutations=50, names=None):
    """The row of ``x`` as the workflow computes it, from the same tables."""
    settings = comparisons.Settings(k=(k,), permutations=permutations, subsamples=0, splits=0, alpha=0.05, seed=0)
    both = {
        "features": ("features",),
        "kernel": ("features",),
        "neighbours": ("neighbours",),
        "both": ("features", "neighbours"),
    }[prh.metrics.METRICS[metric].needs]
    others = []
    for name in names or bank.models:
        paths = [bank.folder / kind / "d" / f"{name}.parquet" if kind in both else None for kind in
                 ("features", "neighbours")]  # fmt: skip
        others.append(representations.representation(name, *paths, bank.preparation))
    _, best = comparisons.row(x, others, metric, settings)
    return best.filter(pl.col("model_x") == x.name)


def mine(name="mine", arrays=MINE):
    return prh.Representation(name, prh.prepare(arrays))


@pytest.mark.parametrize(
    "metric", ["mutual_knn", "jaccard_knn", "cycle_knn", "cka", "cknna", "rsa", "linear_regression"]
)
def test_scores_are_those_of_the_workflows_row(bank, metric):
    table = prh.score(MINE, bank, metric=metric, k=5, permutations=50)
    row = expected(bank, mine(), metric)
    assert sorted(table["model"]) == sorted(MODELS)
    joined = table.join(row, left_on="model", right_on="model_y", suffix="_row")
    assert joined.height == len(MODELS)
    for ours, theirs in (("score", "score_row"), ("threshold", "threshold_row"), ("p", "p_row"),
                         ("calibrated", "calibrated_row"), ("layer", "layer_x"), ("model_layer", "layer_y")):  # fmt: skip
        assert joined[ours].to_list() == joined[theirs].to_list(), ours


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_of_the_bank_has_its_own_numbers(bank, name):
    """By its name, so that its ties are broken as in the bank."""
    others = [other for other in MODELS if other != name]
    table = prh.score(MODELS[name], bank, k=5, permutations=50, name=name, models=others).sort("model")
    stored = representations.representation(name, None, bank.folder / f"neighbours/d/{name}.parquet", bank.preparation)
    row = expected(bank, stored, "mutual_knn", names=others).sort("model_y")
    for ours, theirs in (("score", "score"), ("threshold", "threshold"), ("p", "p"), ("calibrated", "calibrated")):
        assert table[ours].to_list() == row[theirs].to_list()
    assert table.select("layer", "model_layer").rows() == row.select("layer_x", "layer_y").rows()


def test_the_table_tells_what_was_compared_best_first(bank):
    table = prh.score(MODELS["first"], bank, k=5, permutations=99)
    assert table.row(0)[:3] == ("first", "vision", 1.0)
    assert table["calibrated"].to_list() == sorted(table["calibrated"], reverse=True)
    assert table["p"][0] == 0.01
    assert table.filter(model="noise")["calibrated"][0] == 0
    assert set(table.select("n", "k", "metric").rows()) == {(N, 5, "mutual_knn")}
    assert table.filter(model="noise")["modality"][0] is None
    plain = prh.score(MODELS["first"], bank, metric="cka", permutations=0)
    assert plain["k"].null_count() == plain["p"].null_count() == len(MODELS)
    assert plain["score"].to_list() == sorted(plain["score"], reverse=True)


@pytest.mark.parametrize(
    "value",
    [
        MINE[0],
        torch.tensor(MINE[0], requires_grad=True),
        MINE,
        tuple(MINE),
        dict(zip("abc", MINE, strict=True)),
        [layer.astype(np.float64) for layer in MINE],
    ],
    ids=["array", "tensor", "list", "tuple", "mapping", "float64"],
)
def test_kinds_of_arrays(bank, value):
    single = not isinstance(value, list | tuple | dict)
    table = prh.score(value, bank, permutations=0)
    assert table.equals(prh.score(MINE[:1] if single else MINE, bank, permutations=0))


def test_a_representation_is_used_as_it_is(bank):
    table = prh.score(mine("other"), bank, permutations=20)
    assert table.equals(prh.score(MINE, bank, permutations=20, name="other"))


def test_rows_are_joined_by_their_ids(bank):
    order = np.random.default_rng(3).permutation(N)
    shuffled = [np.concatenate([layer[order], layer[:4] + 7]) for layer in MINE]  # and samples that the bank lacks
    ids = [*(IDS[i] for i in order), "a", "b", "c", "d"]
    wanted = prh.score(MINE, bank, permutations=20)
    assert prh.score(shuffled, bank, sample_ids=ids, permutations=20).equals(wanted)
    assert prh.score(shuffled, bank, sample_ids=np.array(ids), permutations=20).equals(wanted)
    moved = prh.Representation("mine", prh.prepare([layer[order] for layer in MINE]))
    assert prh.score(moved, bank, sample_ids=ids[:N], permutations=20).equals(wanted)


def test_a_model_whose_kernels_are_known(bank):
    """Such as judgements: as a Representation, against tables of neighbours or of features."""
    kernel = prh.prepare(MINE[0]) @ prh.prepare(MINE[0]).T
    given = prh.Representation("judgements", kernels=[kernel])
    for metric in ("mutual_knn", "cka"):
        table = prh.score(given, bank, metric=metric, permutations=20).sort("model")
        wanted = prh.score(MINE[0], bank, metric=metric, permutations=20, name="judgements").sort("model")
        assert np.allclose(table["score"], wanted["score"], atol=1e-5)
    with pytest.raises(ValueError, match="judgements is given as kernels, but svcca needs features"):
        prh.score(given, bank, metric="svcca")


def test_a_plugins_metric_of_neighbours_without_k_sees_all_that_are_stored(bank):
    @prh.metric(summary="depth", needs="neighbours", symmetric=True, bounded=False)
    def depth_of_lists(x, y):
        return np.full((len(x), len(y)), float(min(x.root.depth, y.root.depth)))

    try:
        table = prh.score(MINE, bank, metric="depth_of_lists", permutations=3)
    finally:
        del prh.metrics.METRICS["depth_of_lists"]
    assert table["score"].to_list() == [20.0] * len(MODELS)
    assert table["calibrated"].null_count() == len(MODELS)


def test_one_model_can_be_named_without_a_list(bank):
    assert prh.score(MINE, bank, models="noise", permutations=0)["model"].to_list() == ["noise"]


def test_groups_are_permuted_as_wholes(bank):
    groups = np.repeat(np.arange(N // 3), 3)
    table = prh.score(MINE, bank, k=5, permutations=50, groups=groups).sort("model")
    settings = {"permutations": 50, "groups": groups}
    for row in table.iter_rows(named=True):
        y = bank.representation(row["model"], "mutual_knn", 5)
        alignment = compare_in_order(mine(), y, "mutual_knn", 5, **settings)
        assert (row["p"], row["threshold"]) == (alignment.p, alignment.threshold)


@pytest.mark.slow
def test_scoring_arrays_needs_no_libraries_of_models_or_the_workflow(folder):
    code = f"""
import sys, numpy, prh
prh.score(numpy.random.default_rng(0).normal(size=({N}, 4)), {str(folder)!r}, permutations=5)
print(sorted({{"pydantic", "huggingface_hub", "transformers", "timm", "sklearn", "yaml", "PIL"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- what is wrong, in one sentence ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (MINE[0][:50], {}, "mine has 50 rows and the bank 60 samples; pass sample_ids"),
        (MINE, {"sample_ids": IDS[:-1]}, "there are 59 sample_ids and mine has 60 rows"),
        (MINE, {"sample_ids": [*IDS[:-1], IDS[0]]}, "sample_ids have 's00' 2 times"),
        (MINE, {"sample_ids": [*IDS[:-1], "x"]}, "no row for 1 of the bank's 60 samples, such as 's59'"),
        ([MINE[0], MINE[1][:50]], {}, "mine, layer 1 has 50 rows and mine, layer 0 60"),
        (np.where(MINE[0] > 2, np.nan, MINE[0]), {}, "mine holds NaN"),
        (np.where(MINE[0] > 2, np.inf, MINE[0]), {}, "mine holds NaN or infinite"),
        (MINE[0].astype(int), {}, "mine holds int64; features must be floating"),
        (MINE[0] > 0, {}, "mine holds bool; features must be floating"),
        (MINE[0][:, 0], {}, r"mine has shape \[60\]; it must be \[n, d\]"),
        (MINE[0][None], {}, r"mine has shape \[1, 60, 12\]; it must be \[n, d\]"),
        (MINE[0].astype(np.complex64), {}, "mine holds complex numbers"),
        (torch.tensor(MINE[0]).to(torch.complex64), {}, "mine holds complex numbers"),
        ([], {}, "mine has no layers"),
        ("features.npy", {}, "mine holds <U12; pass floating numbers"),
        (None, {}, "mine holds a NoneType"),
        ([[1.0, 2.0], [3.0]], {}, r"mine, layer 0 has shape \[2\]"),
        ([[[1.0, 2.0], [3.0]]], {}, "mine, layer 0 is no array: its rows differ in length"),
        (np.zeros((N, 4), np.float32), {}, "all rows are equal"),
        (MINE, {"metric": "nothing"}, "there is no metric 'nothing'"),
        (MINE, {"k": 21}, "k is 21, but .* holds 20 neighbours of each sample of second; lower k"),
        (MINE, {"k": 0}, "k is 0; it must be a whole number of at least 1"),
        (MINE, {"k": None}, "k is None"),
        (MINE, {"k": 2.5}, "k is 2.5"),
        (MINE, {"k": "10"}, "k is '10'"),
        (MINE, {"k": True}, "k is True"),
        (MINE, {"permutations": -1}, "permutations is -1; it must be a whole number of at least 0"),
        (MINE, {"permutations": 1.5}, "permutations is 1.5"),
        (MINE, {"seed": -1}, "seed is -1"),
        (MINE, {"models": []}, "models is empty; name some of first, second"),
        (MINE, {"data": [1], "layers": "a"}, "data and layers only apply to a torch module; mine is features already"),
        (prh.Representation("it", MINE), {"sample_ids": IDS[1:]}, "there are 59 sample_ids and it has 60 rows"),
        (MINE, {"alpha": 1.0}, "alpha is 1.0"),
        (MINE, {"models": ["absent"]}, "has no model 'absent'; it has first, second, words, noise"),
        (MINE, {"dataset": "absent"}, "has no data set 'absent'; it has d"),
        (MINE, {"groups": np.zeros(N)}, "groups hold a single group"),
        (MODELS["words"], {"name": "words"}, "both models are called 'words' and have ties"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_sentence(bank, value, options, message):
    with pytest.raises(ValueError, match=message):
        prh.score(value, bank, **options)


def rewrite(folder, path, change):
    """A copy of a bank's table with another footer."""
    table, footer = tables.read(folder / path), tables.made_by(folder / path)
    change(footer)
    tables.write(table.replace_schema_metadata(None), folder / path, footer)


@pytest.fixture
def copy(tmp_path):
    prh.make_bank(tmp_path / "bank", MODELS, dataset="d", sample_ids=IDS, k_max=20)
    return tmp_path / "bank"


def test_a_folder_that_is_no_bank(tmp_path):
    with pytest.raises(BankError, match=r"there is no folder .*absent"):
        prh.Bank(tmp_path / "absent")
    with pytest.raises(BankError, match=r"there is no folder wit-1024; .*no bank is published under a name alone"):
        prh.Bank("wit-1024")
    with pytest.raises(BankError, match="is no bank: it has no folder neighbours/"):
        prh.Bank(tmp_path)
    (tmp_path / "neighbours/d").mkdir(parents=True)
    with pytest.raises(BankError, match="has no neighbour table of any model"):
        prh.Bank(tmp_path)
    with pytest.raises(BankError, match="is no address of a bank"):
        prh.Bank("hub:only-a-name")


def test_features_that_a_bank_does_not_have(copy):
    with pytest.raises(BankError, match=r"the metric cka needs features, and .* has none of first .*mutual_knn"):
        prh.score(MINE, copy, metric="cka")


def test_a_bank_of_several_data_sets(copy):
    prh.make_bank(copy, MODELS, dataset="e", sample_ids=IDS, k_max=20)
    with pytest.raises(BankError, match="has 2 data sets: pass dataset, one of d, e"):
        prh.score(MINE, copy)
    assert len(prh.score(MINE, copy, "e", permutations=0)) == len(MODELS)
    assert len(prh.score(MINE, prh.Bank(copy, "d"), "e", permutations=0)) == len(MODELS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda footer: footer.update(samples="0"), "hold different samples"),
        (lambda footer: footer.update(model="other"), "was made for model 'other', not model 'second'"),
        (lambda footer: footer.update(dataset="other"), "was made for data set 'other'"),
        (lambda footer: footer.pop("settings"), "does not record how its features were prepared"),
        (lambda footer: footer["settings"]["alignment"].update(clamp=None), "prepared differently"),
    ],
)
def test_tables_that_do_not_belong_together(copy, change, message):
    rewrite(copy, "neighbours/d/second.parquet", change)
    with pytest.raises(tables.TableError, match=message):
        prh.Bank(copy)


def test_a_truncated_table(copy):
    path = copy / "neighbours/d/second.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(tables.TableError, match=r"second\.parquet is not a complete Parquet file"):
        prh.Bank(copy)


def test_grouped_samples_without_their_groups(copy):
    path = copy / "alignment/d/mutual_knn/first.best.parquet"
    tables.write(tables.ALIGNMENT.empty_table(), path, {"settings": {"grouped": True}})
    with pytest.raises(BankError, match="the samples of d are grouped"):
        prh.score(MINE, copy)
    assert len(prh.score(MINE, copy, permutations=0)) == len(MODELS)
    assert len(prh.score(MINE, copy, groups=np.repeat(np.arange(N // 3), 3), permutations=20)) == len(MODELS)


def test_groups_and_captions_come_from_the_shards(copy):
    groups = np.repeat(np.arange(N // 3), 3)
    columns = {"sample_id": IDS, "captions": [[f"a {i}"] for i in range(N)], "group_id": [str(g) for g in groups]}
    schema = pa.schema([tables.SHARD.field(name) for name in columns])
    tables.write(pa.table(columns, schema), copy / "datasets/d/shards/00000.parquet", {})
    bank = prh.Bank(copy)
    assert bank.captions() == [f"a {i}" for i in range(N)]
    table = prh.score(MINE, bank, permutations=30)
    assert table.equals(prh.score(MINE, bank, permutations=30, groups=groups))
    assert not table.equals(prh.score(MINE, bank, permutations=30, groups=np.arange(N)))


def test_a_bank_without_captions(bank):
    with pytest.raises(BankError, match="has no captions for 60 of its 60 samples"):
        bank.captions()


def test_models_left_over_from_an_earlier_experiment_are_not_compared(copy):
    prh.make_bank(copy, {"new": MODELS["first"]}, dataset="d", sample_ids=IDS, k_max=20)
    assert prh.Bank(copy).models == ["new"]
    (copy / "tables/models.parquet").unlink()
    assert prh.Bank(copy).models == sorted([*MODELS, "new"])


def test_a_bank_from_arrays_needs_arrays_that_fit(tmp_path):
    with pytest.raises(ValueError, match="at least one model"):
        prh.make_bank(tmp_path, {})
    for names in ({"models": {"../a": MINE}}, {"models": {"a": MINE}, "dataset": "a/b"}):
        with pytest.raises(ValueError, match="cannot be the name of a file"):
            prh.make_bank(tmp_path, **names)
    with pytest.raises(ValueError, match=r"they have \[50, 60\] rows"):
        prh.make_bank(tmp_path, {"a": [MINE[0], MINE[1][:50]]})
    with pytest.raises(ValueError, match="'s00' 2 times"):
        prh.make_bank(tmp_path, {"a": MINE}, sample_ids=[*IDS[:-1], IDS[0]])


# ---- files and the command line ----------------------------------------------------------------------------------


def write(path, arrays=MINE):
    if path.suffix == ".npy":
        np.save(path, arrays[0])
    elif path.suffix == ".npz":
        np.savez(path, **{f"layer_{i}": layer for i, layer in enumerate(arrays)})
    elif path.suffix == ".safetensors":
        save_file({f"layer_{i}": torch.tensor(layer).bfloat16() for i, layer in enumerate(arrays)}, path)
    else:
        tables.write(tables.layers_table(IDS, arrays), path, {})
    return path


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors", ".parquet"])
def test_files_of_features(tmp_path, ending):
    layers_of_file, ids = feature_files.read(write(tmp_path / f"x{ending}"))
    arrays = MINE[:1] if ending == ".npy" else MINE
    assert len(layers_of_file) == len(arrays)
    for layer, array in zip(layers_of_file.values(), arrays, strict=True):
        wanted = torch.tensor(array).bfloat16().float().numpy() if ending == ".safetensors" else array
        assert np.array_equal(layer, wanted)
    assert ids == (IDS if ending == ".parquet" else None)


def test_a_file_of_layers_in_one_array_and_of_ids(tmp_path):
    stacked = np.stack([MINE[0], MINE[0] + 1], axis=1)
    np.savez(tmp_path / "x.npz", all=stacked, sample_id=IDS)
    layers_of_file, ids = feature_files.read(tmp_path / "x.npz")
    assert list(layers_of_file) == ["all_0", "all_1"]
    assert np.array_equal(layers_of_file["all_1"], MINE[0] + 1)
    assert ids == IDS


def test_the_command_line_scores_a_file(folder, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prh", "score", *map(str, arguments)])
        main()
        return capsys.readouterr().out.splitlines()

    how = ("--k", "5", "--permutations", "20")
    title, header, *lines = run(write(tmp_path / "mine.npz"), "--bank", folder, *how)
    assert title == f"mine on d of {folder}: mutual_knn, k = 5, 60 samples"
    assert header.split()[:3] == ["model", "modality", "score"]
    table = prh.score(MINE, folder, k=5, permutations=20)
    assert [line.split()[0] for line in lines] == table["model"].to_list()
    assert f"{table['score'][0]:.3f}" in lines[0]
    for arguments, message in (
        ((write(tmp_path / "short.npy", [MINE[0][:9]]), "--bank", folder), "short has 9 rows and the bank 60 samples"),
        ((tmp_path / "absent.npy", "--bank", folder), "absent.npy does not exist"),
        ((tmp_path / "x.csv", "--bank", folder), "must be a folder or end in .npy"),
        ((write(tmp_path / "y.npy"), "--bank", tmp_path / "absent"), "there is no folder"),
    ):
        with pytest.raises(SystemExit, match=f"^error: .*{message}") as error:
            run(*arguments)
        assert "\n" not in str(error.value)
