"""Files that one stage makes and another reads, each read by the program that does so."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from prh.competence.scores import published_scores
from prh.datasets.local_data import read_local
from prh.datasets.samples import SampleColumns
from prh.datasets.shards import read_manifest, shard_paths
from prh.experiment.arguments import expanded
from prh.features import extraction
from prh.io import files, tables
from prh.jobs import runs, timings
from prh.modalities import text_batches
from prh.world import training
from tests.attack import results
from tests.attack.damage import CUT, NO_CHECKSUM, Kind
from tests.attack.programs import content, contents, digest
from tests.attack.results import MODELS

PANEL = results.MEASURE


def _of(name: str) -> Callable[[Path], Path]:
    """A copy of the sound results; returns the file ``name`` of them."""

    def make(folder: Path) -> Path:
        shutil.copytree(results.sound(), folder, copy_function=_linked)
        path = folder / name
        shutil.copyfile(path, path.with_name("copy"))  # what is damaged must be no link to the sound one
        return path.with_name("copy").replace(path)

    return make


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _root(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name == "sound" or (folder / "other_settings").is_dir())


def _copied(name: str) -> Callable[[Path], object]:
    """What puts another file of the sound results in the place of one."""
    return lambda path: shutil.copyfile(results.sound() / name, path)


def _table(
    name: str,
    use: Callable[[Path], object],
    title: str,
    *,
    model: str = "",
    dataset: str = "",
    settings: str = "",
    called: str | None = None,
) -> Kind:
    """A table ``name``, read by ``use``, which gets the folder of results; and others that may be taken for it."""
    named = {"another model": model, "another data set": dataset, "other settings": settings}
    others = {f"of {what}": _copied(file) for what, file in named.items() if file}
    return Kind(title, _of(name), lambda path: use(_root(path)), others=others, called=called)


def _row_kinds() -> list[Kind]:
    rows = "alignment/photos/mutual_knn"
    other = "alignment/other/mutual_knn"

    def layers(root: Path) -> list[str]:
        return contents(results.study(root, f"{PANEL}/layer_matrix_strongest"))

    return [
        _table(f"{rows}/v2.best.parquet", lambda root: contents(results.best_layers(root)), "row of best layers",
               model=f"{rows}/v1.best.parquet", dataset=f"{other}/v2.best.parquet",
               settings="alignment/photos/cka/v2.best.parquet"),
        _table(f"{rows}/l3.parquet", layers, "row of all layer pairs", model=f"{rows}/v1.parquet",
               dataset=f"{other}/v3.parquet", settings="alignment/photos/cka/l3.parquet"),
        _table(f"{rows}/v2.sweep.parquet", lambda root: contents(results.collect_sweep(root)), "row of a sweep",
               model=f"{rows}/v1.sweep.parquet", settings=f"{rows}/v2.best.parquet"),
    ]  # fmt: skip


def _feature_kinds() -> list[Kind]:
    features, other = "features/photos/v2.parquet", "features/other/v2.parquet"
    lists = {"model": "neighbours/photos/v1.parquet", "dataset": "neighbours/other/v2.parquet"}
    sides = {"model": "features/photos/v1.parquet", "dataset": other, "settings": "features/photos/l1.parquet"}
    return [
        _table(features, lambda root: content(results.neighbours(root, "photos", "v2")), "features (neighbours)", **sides),
        _table(features, lambda root: contents(results.alignment(root, "photos", "cka", "v2")), "features (cka)", **sides),
        _table(features, lambda root: contents(results.alignment(root, "photos", "cka", "l1")),
               "features (another's row)", **sides),
        _table(features, lambda root: content(results.sweep(root, "v2")), "features (sweep)", **sides),
        _table(features, lambda root: content(results.probes(root, "v2")), "features (probes)", **sides),
        _table(features, lambda root: contents(results.best_layers(root)), "features (models table)", **sides),
        _table("neighbours/photos/v2.parquet", lambda root: contents(results.alignment(root, "photos", "mutual_knn", "v2")),
               "neighbours", **lists),
        _table("neighbours/photos/v2.parquet", lambda root: contents(results.alignment(root, "photos", "mutual_knn", "l1")),
               "neighbours (another's row)", **lists),
    ]  # fmt: skip


def _shard_kinds() -> list[Kind]:
    shard, other = "datasets/photos/shards/00001.parquet", "datasets/other/shards/00001.parquet"
    return [
        _table(shard, lambda root: content(results.probes(root, "v2")), "shard (probes)", dataset=other,
               called="photos/shards"),
        _table(shard, lambda root: contents(results.alignment(root, "photos", "mutual_knn", "v2")), "shard (groups)",
               dataset=other, called="photos/shards"),
        _table("datasets/photos/manifest.json", _read_shards, "manifest.json", dataset="datasets/other/manifest.json"),
    ]  # fmt: skip


def _read_shards(root: Path) -> str:
    manifest = read_manifest(root / "datasets/photos/manifest.json", "photos")
    paths = shard_paths(manifest, root / "datasets/photos/shards")
    return digest([tables.read(path, ["sample_id", "image", "captions"]).to_pydict() for path in paths])


def _score_kinds() -> list[Kind]:
    def collect(root: Path) -> str:
        return content(results.collect_scores(root))

    probed, bits = "competence/probes/photos", "competence/bits_per_byte/t"
    return [
        _table(f"{probed}/v2.parquet", collect, "scores of a probe", model=f"{probed}/v1.parquet",
               settings=f"{bits}/l1.parquet"),
        _table(f"{bits}/l2.parquet", collect, "scores of a text", model=f"{bits}/l1.parquet"),
        Kind("published_scores.csv", _published, lambda path: digest(published_scores(path).rows()),
             CUT | NO_CHECKSUM | {"flipped at an end"}),
    ]  # fmt: skip


def _published(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(results.PUBLISHED, folder / "published_scores.csv"))


def _table_kinds() -> list[Kind]:
    def other(name: str) -> dict[str, str]:
        return {"settings": f"other_settings/{name}"}

    def matrix(root: Path) -> str:
        return content(results.draw(root, f"{PANEL}/alignment_matrix"))

    def study(path: str) -> Callable[[Path], list[str]]:
        return lambda root: contents(results.study(root, path))

    best, models, scores = "tables/alignment.parquet", "tables/models.parquet", "tables/scores.parquet"
    figure2, figure3, layers = (f"{PANEL}/{name}" for name in ("figure2", "figure3", "layer_matrix_strongest"))
    return [
        _table(best, study(figure3), "table of alignment (figure 3)", **other(best)),
        _table(best, matrix, "table of alignment (figure)", **other(best)),
        _table(best, study(layers), "table of alignment (layers)", **other(best)),
        _table(best, study(results.CORRELATION), "table of alignment (metrics)", **other(best)),
        _table(models, study(figure3), "table of models (figure 3)", **other(models)),
        _table(models, matrix, "table of models (figure)", **other(models)),
        _table(scores, study(figure2), "table of scores (figure 2)", **other(scores)),
        _table(scores, study(figure3), "table of scores (figure 3)", **other(scores)),
        _drawn("table of figure 3", figure3, f"tables/{figure3}.parquet"),
        _drawn("statistics of figure 3", figure3, f"tables/{figure3}_statistics.parquet"),
        _drawn("table of layer scores", layers, f"tables/{layers}.parquet"),
        _drawn("table of a sweep", f"{PANEL}/n_sweep", f"tables/{PANEL}/n_sweep.parquet"),
        _drawn("table of metrics", results.CORRELATION, f"tables/{results.CORRELATION}.parquet"),
    ]


def _drawn(title: str, path: str, table: str) -> Kind:
    """A table, as the picture of a study reads it."""
    other = f"other_settings/{table}"
    settings = other if (results.sound() / other).is_file() else ""
    return _table(table, lambda root: content(results.draw(root, path)), title, settings=settings)


# ---- small files beside them ----------------------------------------------------------------------------------


def _fetched(name: str, damaged: str | None = None) -> Callable[[Path], Path]:
    """What a download notes of a folder of captions; returns that note, or a file of the folder."""

    def make(folder: Path) -> Path:
        root = folder / "data"
        root.mkdir(parents=True)
        for i in range(3):
            (root / f"{i}.jsonl").write_text(json.dumps({"text": f"caption {i}"}) + "\n")
        (root / "metadata.jsonl").write_text("".join(json.dumps({"text": f"caption {i}"}) + "\n" for i in range(9)))
        path = folder / name
        path.write_text(json.dumps({"source": "local", "root": str(root), "files": files.listing(root)}, indent=1))
        return root / damaged if damaged else path

    return make


def _use_fetched(path: Path) -> str:
    root = Path(files.fetched(path)["root"])
    return digest([sample.captions for sample in read_local(root, SampleColumns(image=None))])


def _timing(folder: Path) -> Path:
    (folder / "timings/neighbours").mkdir(parents=True)
    (folder / "logs/neighbours").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"timings/neighbours/{name}.tsv").write_text("s\tmax_rss\tcpu_time\n1.5\t100.0\t1.0\n")
        (folder / f"logs/neighbours/{name}.log").write_text("took 1.20 s, 1.00 s of CPU, at most 300 MB\n")
    return folder / "timings/neighbours/a.tsv"


def _collect_timings(path: Path) -> str:
    root = path.parents[2]
    found = timings.collect(root / "timings", root / "logs")
    return digest(found.filter(found["job"] == "b").rows())


def _arguments(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "arguments.json").write_text(json.dumps(["--rows", *(f"{name}.parquet" for name in MODELS)]))
    return folder / "arguments.json"


def _run_lock(folder: Path) -> Path:
    runs.hold(folder).close()
    return folder / runs.LOCK


def _hold(path: Path) -> str:
    runs.hold(path.parent).close()
    return "held"


def _part(folder: Path) -> Path:
    """A finished piece of an extraction that was killed."""
    _of("features/photos/v2.parquet")(folder)
    path = folder / "features/photos/v2.parts/00000.parquet"
    ids = [f"photos{i:02d}" for i in range(20)]
    layers = [encode(ids) for encode in _Encoder().layers]
    tables.write(tables.layers_table(ids, layers), path, {"digest": "d"})
    return path


class _Encoder:
    """An encoder of captions that says how long they are."""

    layer_names, parameters, device = ("long", "short"), 1, "cpu"

    def __init__(self) -> None:
        import numpy as np

        self.layers = [lambda ids: np.array([[len(name), 1.0] for name in ids], np.float32)] * 2

    def tokenize(self, texts: list[str]) -> list:
        import torch

        return [(torch.ones(8), torch.ones(8)) for _ in texts]

    def prove_tokens(self, texts: object, items: object) -> None:
        pass

    def encode(self, items: list) -> list:
        import torch

        return [torch.tensor([[8.0, 1.0]] * len(items))] * 2


def _extract(path: Path) -> str:
    root = _root(path)
    shards = sorted((root / "datasets/photos/shards").glob("*.parquet"))
    output = root / "features/photos/v2.parquet"
    encode = partial(text_batches.encode, entry=SimpleNamespace(caption=0, template="{caption}"))
    extraction.extract(_Encoder(), shards, output, model="v2", digest="d", encode=encode)
    return digest(tables.read(output).to_pydict())


def _checkpoint(folder: Path) -> Path:
    """A checkpoint of a training that was killed."""
    path = folder / "m.part/checkpoint.pt"
    path.parent.mkdir(parents=True)
    training._checkpoint(path, *_learner(), {"steps": 3}, 2)
    return path


def _learner() -> tuple:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 4)
    return model, torch.optim.AdamW(model.parameters())


def _resume(path: Path) -> str:
    model, optimizer = _learner()
    started = digest([value.tolist() for value in model.state_dict().values()])
    done = training._resume(path, model, optimizer, {"steps": 3})
    whole = digest([value.tolist() for value in model.state_dict().values()]) == started
    return "its weights, from there or from the start" if done in (0, 2) and whole else f"step {done}"


def kinds() -> list[Kind]:
    return [
        *_feature_kinds(), *_row_kinds(), *_shard_kinds(), *_score_kinds(), *_table_kinds(),
        Kind("source.json", _fetched("source.json"), _use_fetched),
        Kind("weights.json", _fetched("weights.json"), _use_fetched),
        Kind("file that was fetched", _fetched("source.json", "1.jsonl"),
             lambda path: _use_fetched(path.parent.parent / "source.json")),
        Kind("documents", _documents, files.read_json_lines, CUT | NO_CHECKSUM | {"flipped at an end", "another kind: JSON"}),
        Kind("lm-eval results", _harness, lambda path: files.read_json(path, "results"), NO_CHECKSUM | {"flipped at an end"}),
        Kind("arguments of a program", _arguments, lambda path: expanded(["--arguments", str(path)]),
             NO_CHECKSUM | {"flipped at an end"}),
        Kind("times of a job", _timing, _collect_timings),
        Kind("log of a job", lambda folder: _timing(folder).parents[2] / "logs/neighbours/a.log", _collect_timings),
        Kind("lock of a run", _run_lock, _hold),
        Kind("part of features", _part, _extract),
        Kind("checkpoint of a training", _checkpoint, _resume),
    ]  # fmt: skip


def _documents(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "text.jsonl").write_text('"one"\n"two"\n"three"\n')
    return folder / "text.jsonl"


def _harness(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "task.json").write_text('{"results": {"t": {"acc,none": 0.5}}}')
    return folder / "task.json"
