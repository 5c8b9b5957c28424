"""A whole set of results in small: what every stage hands to the next, made by the programs themselves."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from prh.competence import scores
from prh.datasets.samples import Sample, SampleColumns
from prh.datasets.sharding import shard
from prh.experiment.job_specs import JobSpecs
from prh.experiment.loading import load
from prh.experiment.plan import Plan
from prh.io import tables
from prh.studies import Study, Target
from tests.attack.programs import FOLDER, run

VISION, LANGUAGE = ["v1", "v2", "v3"], ["l1", "l2", "l3"]
MODELS = [*VISION, *LANGUAGE]
SAMPLES, LAYERS, WIDTH = 32, 2, 6
DATASETS = ["photos", "other"]
METRICS = ["mutual_knn", "cka"]
MEASURE, CORRELATION = "photos/mutual_knn_k3", "photos/metric_correlation"
PUBLISHED = FOLDER.parent / "resources/published_scores.csv"
_VIT = {"modality": "vision", "source": "random", "id": "resnet18"}
_GPT = {"modality": "language", "source": "hub", "id": "gpt2"}


def experiment(**alignment: object) -> JobSpecs:
    """The specs of its jobs; ``alignment`` changes its settings."""
    settings = {"metrics": METRICS, "k": [3, 5], "k_max": SAMPLES - 1, "n": [16, SAMPLES]}
    settings |= {"permutations": 20, "subsamples": 5, "splits": 2}
    raw = {
        "datasets": [{"name": name, "source": "world", "labels": ["class"], "group": "page"} for name in DATASETS],
        "models": [{"name": name, "family": name, **(_VIT if name in VISION else _GPT)} for name in MODELS],
        "world": {"events": SAMPLES},
        "alignment": settings | alignment,
        "texts": [{"name": "t", "source": "world"}],
        "probes": [{"name": "p", "train": "photos", "label": "class"}],
    }
    return JobSpecs(Plan(load(raw)), PUBLISHED)


SPECS = experiment()


@cache
def sound() -> Path:
    """The folder of these results, made once in a process."""
    root = Path(_folder().name)
    for dataset in DATASETS:
        _write_shards(root, dataset)
        for model in MODELS:
            _write_features(root, dataset, model)
            neighbours(root, dataset, model)
        for metric in METRICS:
            for model in MODELS if dataset == "photos" else MODELS[:3]:
                alignment(root, dataset, metric, model)
    for model in MODELS:
        sweep(root, model)
    _write_bits(root)
    for model in VISION:
        probes(root, model)
    best_layers(root)
    collect_sweep(root)
    collect_scores(root)
    for path in (*(f"{MEASURE}/{name}" for name in ("figure2", "figure3", "layer_matrix_strongest")), CORRELATION):
        study(root, path)
    _write_others(root)
    return root


@cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="prh-attack-")  # removed when the process ends


# ---- what a stage before these makes --------------------------------------------------------------------------


def _write_shards(root: Path, dataset: str) -> None:
    samples = [
        Sample(f"{dataset}{i:02d}", None, None, (f"caption {i}",), {"class": "ab"[i % 2]}, f"page {i // 2}")
        for i in range(SAMPLES)
    ]
    folder = root / "datasets" / dataset
    columns, made_by = SampleColumns(image=None), {"dataset": dataset}
    manifest = shard(samples, folder / "shards", columns, shard_size=20, workers=1, made_by=made_by)
    (folder / "manifest.json").write_text(json.dumps({"dataset": dataset, **manifest}, indent=1))


def _write_features(root: Path, dataset: str, model: str) -> None:
    draw = np.random.default_rng([DATASETS.index(dataset), MODELS.index(model)])
    shared = np.random.default_rng(DATASETS.index(dataset)).normal(size=(SAMPLES, WIDTH))
    layers = [(shared + draw.normal(size=shared.shape)).astype(np.float32) for _ in range(LAYERS)]
    ids = [f"{dataset}{i:02d}" for i in range(SAMPLES)]
    facts = {"model": model, "dataset": dataset, "samples": tables.digest_of_samples(ids), "layer_names": ["a", "b"]}
    facts["parameters"] = 10 ** (2 + MODELS.index(model))
    made_by = tables.provenance(**SPECS.features(dataset, model).provenance, **facts)
    tables.write(tables.layers_table(ids, layers), root / f"features/{dataset}/{model}.parquet", made_by)


def _write_bits(root: Path) -> None:
    for number, model in enumerate(LANGUAGE):
        row = {"model": model, "task": "t", "metric": "bits_per_byte", "value": 1.5 - number / 4, "stderr": 0.01}
        row |= {"n": 100, "altered": 0.0, "source": scores.MEASURED}
        made_by = tables.provenance(**SPECS.bits_per_byte("t", model).provenance, model=model, text="t")
        path = root / f"competence/bits_per_byte/t/{model}.parquet"
        tables.write(scores.scores_table(pl.DataFrame([row])), path, made_by)


def _write_others(root: Path) -> None:
    """The tables that are of no one model, as an experiment with other settings makes them."""
    other = tables.provenance(spec="0" * 16, code="", settings={})
    for path in [*root.glob("tables/*.parquet"), *root.glob("tables/photos/**/*.parquet")]:
        tables.write(tables.read(path), root / "other_settings" / path.relative_to(root), other)


# ---- the stages -----------------------------------------------------------------------------------------------


def neighbours(root: Path, dataset: str, model: str) -> Path:
    output = root / f"neighbours/{dataset}/{model}.parquet"
    features = root / f"features/{dataset}/{model}.parquet"
    of = ["--dataset", dataset, "--model", model, "--features-spec", SPECS.features(dataset, model).digest]
    run("neighbours", "--spec", SPECS.neighbours(), of, "--features", features, "--output", output)
    return output


def alignment(root: Path, dataset: str, metric: str, model: str) -> list[Path]:
    names, folder = SPECS.plan.row(dataset, model), root / f"alignment/{dataset}/{metric}"
    outputs = [folder / f"{model}.parquet", folder / f"{model}.best.parquet"]
    kind = "features" if metric == "cka" else "neighbours"
    digests = [(SPECS.features(dataset, name) if kind == "features" else SPECS.neighbours()).digest for name in names]
    read = [f"--{kind}", *(root / f"{kind}/{dataset}/{name}.parquet" for name in names), f"--{kind}-specs", *digests]
    groups = ["--groups-from", root / f"datasets/{dataset}/shards"]
    written = ["--scores", outputs[0], "--best", outputs[1]]
    of = ["--spec", SPECS.alignment(dataset, metric), "--dataset", dataset, "--models", *names]
    run("alignment", of, read, groups, written)
    return outputs


def sweep(root: Path, model: str) -> Path:
    names, output = SPECS.plan.row("photos", model), root / f"alignment/photos/mutual_knn/{model}.sweep.parquet"
    of = ["--spec", SPECS.n_sweep("photos", "mutual_knn"), "--dataset", "photos", "--models", *names]
    digests = [SPECS.features("photos", name).digest for name in names]
    read = ["--features", *(root / f"features/photos/{name}.parquet" for name in names), "--features-specs", *digests]
    run("n_sweep", of, read, "--output", output)
    return output


def _best(root: Path, rows: list[Path], specs: list[str], outputs: list[Path]) -> list[Path]:
    features = [root / f"features/photos/{model}.parquet" for model in MODELS]
    digests = [SPECS.features("photos", model).digest for model in MODELS]
    of = ["--spec", SPECS.best_layers(), "--rows", *rows, "--rows-specs", *specs]
    read = ["--features", *features, "--features-specs", *digests]
    run("best_layers", of, read, "--models", outputs[0], "--best", outputs[1])
    return outputs


def best_layers(root: Path) -> list[Path]:
    of = [(metric, model) for metric in METRICS for model in MODELS]
    rows = [root / f"alignment/photos/{metric}/{model}.best.parquet" for metric, model in of]
    specs = [SPECS.alignment("photos", metric).digest for metric, _ in of]
    return _best(root, rows, specs, [root / "tables/models.parquet", root / "tables/alignment.parquet"])


def collect_sweep(root: Path) -> list[Path]:
    rows = [root / f"alignment/photos/mutual_knn/{model}.sweep.parquet" for model in MODELS]
    folder = root / "tables/photos/mutual_knn_k3"
    specs = [SPECS.n_sweep("photos", "mutual_knn").digest] * len(rows)
    return _best(root, rows, specs, [folder / "n_sweep_models.parquet", folder / "n_sweep.parquet"])


def probes(root: Path, model: str) -> Path:
    output = root / f"competence/probes/photos/{model}.parquet"
    read = ["--shards", root / "datasets/photos/shards", "--features", root / f"features/photos/{model}.parquet"]
    of = ["--spec", SPECS.probes("photos"), "--model", model]
    run("probes", of, read, "--features-specs", SPECS.features("photos", model).digest, "--output", output)
    return output


def collect_scores(root: Path, published: Path = PUBLISHED) -> Path:
    output = root / "tables/scores.parquet"
    measured = [root / f"competence/probes/photos/{model}.parquet" for model in VISION]
    measured += [root / f"competence/bits_per_byte/t/{model}.parquet" for model in LANGUAGE]
    specs = [SPECS.probes("photos").digest] * len(VISION)
    specs += [SPECS.bits_per_byte("t", model).digest for model in LANGUAGE]
    read = ["--measured", *measured, "--measured-specs", *specs, "--published", published]
    run("scores", "--spec", SPECS.scores(), read, "--output", output)
    return output


def study(root: Path, path: str) -> list[Path]:
    """The table of a study, and its statistics where it has some."""
    of, target = SPECS.plan.targets[path]
    outputs = [root / f"tables/{path}.parquet"]
    written = ["--table", outputs[0]]
    if of.has_statistics:
        outputs.append(root / f"tables/{path}_statistics.parquet")
        written += ["--statistics", outputs[1]]
    run("study", "--spec", SPECS.study(path), _read(_read_by(root, of, target)), written)
    return outputs


def draw(root: Path, path: str) -> Path:
    """The picture of a study."""
    of, target = SPECS.plan.targets[path]
    made_by = SPECS.study(path) if of.table else None
    read = [("table", root / f"tables/{path}.parquet", made_by)]
    if of.has_statistics:
        read.append(("statistics", root / f"tables/{path}_statistics.parquet", made_by))
    output = root / f"figures/{path}.svg"
    run("draw", "--spec", SPECS.draw(path), _read(read if of.table else _read_by(root, of, target)), "--output", output)
    return output


def _read_by(root: Path, of: Study, target: Target) -> list[tuple[str, Path, object]]:
    """Name, place and spec of each table that a study reads."""
    tables_of = root / "tables"
    dataset, metric = target.rows["dataset"], target.rows.get("metric")
    found = {
        "best": [(tables_of / "alignment.parquet", SPECS.best_layers())],
        "models": [(tables_of / "models.parquet", SPECS.best_layers())],
        "scores": [(tables_of / "scores.parquet", SPECS.scores())],
        "sweep": [(tables_of / f"{dataset}/mutual_knn_k3/n_sweep.parquet", SPECS.best_layers())],
        "rows": [
            (root / f"alignment/{dataset}/{metric}/{model}.parquet", SPECS.alignment(dataset, metric))
            for model in (MODELS if metric else ())
        ],
    }
    return [(name, path, spec) for name in of.reads for path, spec in found[name]]


def _read(tables_read: list[tuple[str, Path, object]]) -> list[object]:
    names, paths, specs = zip(*tables_read, strict=True)
    return ["--reads", *names, "--tables", *paths, "--tables-specs", *(spec.digest for spec in specs)]
