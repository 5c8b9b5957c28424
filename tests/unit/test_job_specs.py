"""Each job depends on its own settings and on nothing else."""

import pytest

from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import load
from prh.experiment.plan import Plan
from tests.unit.test_plan import PICTURES, language, vision

PHOTOS = {"name": "photos", "source": "hub", "id": "a/b", "revision": "main"}


def specs_of(models=(), datasets=(), **sections) -> JobSpecs:
    return JobSpecs(Plan(load({"datasets": [PHOTOS, *datasets], "models": list(models), **sections})))


@pytest.mark.parametrize(
    ("change", "features", "weights"),
    [
        ({"pooling": "mean"}, True, False),
        ({"family": "ViT"}, False, False),
        ({"parameters": 5}, False, False),
        ({"id": "test_resnet"}, True, True),
        ({"dtype": "float32"}, True, False),
        ({"dtype": "auto", "pooling": "auto", "seed": 0}, False, False),
    ],
)
def test_a_setting_enters_the_jobs_that_it_changes(change, features, weights):
    before, after = specs_of([vision("v")]), specs_of([vision("v", **change)])
    assert (before.features("photos", "v") != after.features("photos", "v")) == features
    assert (before.download_model("v") != after.download_model("v")) == weights


def test_k_is_no_setting_of_a_metric_without_neighbours():
    few, many = (specs_of([vision("a")], alignment={"k": k}) for k in ([5], [5, 10]))
    assert few.alignment("photos", "cka") == many.alignment("photos", "cka")
    assert few.alignment("photos", "mutual_knn") != many.alignment("photos", "mutual_knn")
    assert few.neighbours() == many.neighbours()


def test_specs_do_not_depend_on_the_order_of_keys():
    entry = vision("v", pooling="mean", model_args={"b": 1, "a": 2})
    turned = {key: entry[key] for key in reversed(entry)} | {"model_args": {"a": 2, "b": 1}}
    assert str(specs_of([entry]).features("photos", "v")) == str(specs_of([turned]).features("photos", "v"))


def test_the_world_is_a_setting_of_what_comes_from_it():
    world = {"name": "w", "source": "world"}
    small, large = (specs_of([vision("v")], [world], world={"events": events}) for events in (64, 128))
    assert small.download_dataset("w").settings["world"] == {"events": 64}
    assert small.download_dataset("w") != large.download_dataset("w")
    assert small.download_dataset("photos") == large.download_dataset("photos")


def test_how_a_text_is_shown_to_models_fetches_nothing_again():
    text = {"name": "t", "source": "hub", "id": "a/b", "bytes": 100}
    before, shown, longer = (
        specs_of([language("l")], texts=[text | more]) for more in ({}, {"window": 64}, {"bytes": 200})
    )
    assert before.download_text("t") == shown.download_text("t") != longer.download_text("t")
    assert before.bits_per_byte("t", "l") != shown.bits_per_byte("t", "l")
    assert before.bits_per_byte("t", "l") == longer.bits_per_byte("t", "l")


def test_the_metric_of_a_task_that_figures_show_asks_no_model_again():
    task = {"name": "h", "source": "world"}
    before, after = (specs_of([language("l")], harness=[task | more]) for more in ({}, {"metric": "acc_norm"}))
    assert before.harness("h", "l") == after.harness("h", "l")


def test_a_licence_is_no_setting_of_a_data_set():
    plain, licensed, part = (
        specs_of([vision("v")], [PICTURES | more]) for more in ({}, {"licence": "MIT"}, {"files": ["x"]})
    )
    assert plain.download_dataset("cifar") == licensed.download_dataset("cifar") != part.download_dataset("cifar")


def test_small_files_of_a_local_model_are_known_by_their_content_and_large_ones_by_their_size(tmp_path):
    (tmp_path / "config.json").write_text("1")
    (tmp_path / "model.safetensors").write_bytes(bytes(2**20 + 1))
    model = {"name": "l", "modality": "language", "source": "local", "path": str(tmp_path)}

    def spec():
        from prh.experiment import job_specs

        job_specs._contents.cache_clear()
        return specs_of([model]).download_model("l")

    before = spec()
    (tmp_path / "config.json").touch()
    assert spec() == before
    (tmp_path / "config.json").write_text("2")
    assert (after := spec()) != before
    (tmp_path / "model.safetensors").write_bytes(bytes(2**20 + 2))
    assert spec() != after
