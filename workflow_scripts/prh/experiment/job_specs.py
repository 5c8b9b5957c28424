"""Which settings and which code each job of an experiment depends on: its spec, the one parameter of its rule.

A setting enters the specs of exactly the jobs whose result it can change, and so does a module
(prh/experiment/code.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from prh.core.metrics import EFFECTS, METRICS
from prh.downloads.sources import Source, source_of
from prh.experiment import code
from prh.experiment.checkpoints import final_step
from prh.experiment.plan import Plan
from prh.experiment.specs import Spec, differences
from prh.io import files
from prh.io.names import is_checkpoint
from prh.modalities import colour_of, loader_of, modality_of
from prh.models import factory_files

# What of a model's entry its weights depend on, what is told in tables or to the scheduler only, and what has no part
# in its features or scores.
IN_WEIGHTS = ("name", "modality", "library", "source", "id", "path", "revision", "url", "sha256")
IN_TRAINING = ("name", "modality", "source", "training", "model_args")
ABOUT = {"family", "parameters", "objective", "training_data", "licence", "gated", "paper", "gpus"}
ABOUT |= {"step", "checkpoints"}
NOT_IN_FEATURES = ABOUT | {"causal"}
NOT_IN_GIVEN = ABOUT | {"files"}
NOT_IN_SCORES = ABOUT | {"pooling", "special_tokens", "template", "caption"}
NOT_IN_DATA = {"use", "models", "licence"}
NOT_IN_TEXT = {"window", "stride", "licence"}
NOT_IN_TASK = {"metric"}

PREPARATION = ("preparation", "clamp", "clamp_scope", "normalise")
EVIDENCE = ("permutations", "subsamples", "splits", "alpha", "seed")
SMALL = 2**20
"""Largest local file, in bytes, that is identified by its content rather than its size."""
NOT_IN_SWEEP = ("subsamples", "splits")  # a curve has no intervals and no cross-fits


class JobSpecs:
    """The specs of the jobs of ``plan``, one method per rule; ``published`` is the table of published scores."""

    def __init__(self, plan: Plan, published: Path | None = None) -> None:
        self.plan, self.experiment, self._published = plan, plan.experiment, published

    # ---- data sets and models

    def download_dataset(self, dataset: str) -> Spec:
        """The entry of a data set, the world if it comes from there, and the sizes of local files."""
        entry = self.plan.datasets[dataset]
        source = source_of("datasets", entry)
        path = source.lies_here(entry)
        settings = {"dataset": differences(entry, without=NOT_IN_DATA)}
        settings |= {} if path is None else {"files": _sizes(Path(path))}
        settings |= self._world_of(source)
        return _spec(settings, "download_dataset.py", code.home(source.fetch))

    def shard_dataset(self, dataset: str) -> Spec:
        """The entry of a data set: its content, and how it is cut into shards."""
        entry = self.plan.datasets[dataset]
        settings = {"dataset": differences(entry, without=NOT_IN_DATA)}
        return _spec(settings, "shard_dataset.py", code.home(source_of("datasets", entry).reader))

    def download_model(self, model: str) -> Spec:
        """What the weights of a model depend on, with its files if it is local."""
        entry = self.plan.models[model]
        source = source_of("models", entry)
        path = source.lies_here(entry)
        watched = {"files": _contents(Path(path))} if path else {}
        settings = {"model": differences(entry, only=IN_WEIGHTS), **watched}
        fetch = () if source.fetch is None else (code.home(source.fetch),)
        return _spec(settings, "download_model.py", *fetch)

    def note_given(self, dataset: str, model: str) -> Spec:
        """Where the files of a given representation are, and a digest of their content."""
        entry = self.plan.models[model]
        path = entry.files[dataset]
        shown = {**differences(entry, only=("name", "modality", "source", "kind")), "files": {dataset: path}}
        fetch = code.home(source_of("models", entry).fetch)
        return _spec({"model": shown, "files": _contents(Path(path))}, "download_model.py", fetch)

    def train_model(self, model: str) -> Spec:
        """What the training of a world model depends on; for a checkpoint also the step where it stops."""
        stop = ("step",) if is_checkpoint(model) else ()
        entry = differences(self.plan.models[model], only=(*IN_TRAINING, *stop))
        train = modality_of(self.plan.models[model]).train
        return _spec({"model": entry, "world": self._world}, "train_model.py", code.home(train))

    # ---- features and their alignment

    def features(self, dataset: str, model: str) -> Spec:
        """What the features of a model depend on, besides data and weights."""
        entry, layers = self.plan.models[model], self.plan.probed_layers(dataset)
        if modality_of(entry).is_given:
            return self._given(entry)
        settings = {"model": differences(entry, without=NOT_IN_FEATURES), **({"layers": layers} if layers else {})}
        built, own = _factory(entry)
        modules = (code.home(loader_of(entry)), code.home(modality_of(entry).encode))
        return _spec(settings | built, "features.py", *modules, *own)

    def _given(self, entry: Any) -> Spec:
        """What a given representation depends on, besides the data and its files."""
        modality, source = modality_of(entry), source_of("models", entry)
        settings = {"model": differences(entry, without=NOT_IN_GIVEN)}
        settings |= {} if source.read else self._world_of(source)
        read = (code.home(source.read),) if source.read else ()
        return _spec(settings, "given.py", code.home(modality.give), *read)

    def neighbours(self) -> Spec:
        """How features are prepared, and how many neighbours are stored."""
        return _spec({"alignment": self._alignment(*PREPARATION, "k_max")}, "neighbours.py")

    def alignment(self, dataset: str, metric: str) -> Spec:
        """What a row depends on: k only if its metric uses neighbours, and nothing about other metrics."""
        k = ("k",) if METRICS[metric].needs_k else ()
        effects = (code.home(EFFECTS[metric]),) if metric in EFFECTS else ()  # its interval is made by
        return self._row("alignment.py", dataset, metric, self._alignment(*PREPARATION, *EVIDENCE, *k), *effects)

    def n_sweep(self, dataset: str, metric: str) -> Spec:
        """What a row of a sweep over n depends on."""
        evidence = [name for name in EVIDENCE if name not in NOT_IN_SWEEP]
        settings = self._alignment(*PREPARATION, *evidence, "k") | {"n": sorted(self.experiment.alignment.n)}
        return self._row("n_sweep.py", dataset, metric, settings)

    def _row(self, program: str, dataset: str, metric: str, settings: Mapping[str, Any], *modules: str | Path) -> Spec:
        grouped = {"grouped": True} if self.plan.datasets[dataset].group else {}
        modules = (code.home(METRICS[metric].function), *modules)
        return _spec({"metric": metric, "alignment": settings, **grouped}, program, *modules)

    def best_layers(self) -> Spec:
        """What the table of models says about each model, in the order of the experiment."""
        rows = [
            {
                "model": name,
                "modality": model.modality,
                "family": model.family or name,
                "parameters": getattr(model, "parameters", None),
                "quantisation": getattr(model, "quantisation", None),
                "step": final_step(model),
            }
            for name, model in self.plan.models.items()
        ]
        told = [{key: value for key, value in row.items() if value is not None} for row in rows]
        return _spec({"models": told}, "best_layers.py")

    # ---- competence

    def probes(self, dataset: str) -> Spec:
        """The tasks that are probed on a training data set."""
        entries = [differences(probe) for probe in self.experiment.probes if probe.train == dataset]
        return _spec({"probes": entries}, "probes.py")

    def download_text(self, text: str) -> Spec:
        """What a text depends on, including the world if it comes from there."""
        entry = self.plan.texts[text]
        source = source_of("texts", entry)
        settings = {"text": differences(entry, without=NOT_IN_TEXT), **self._world_of(source)}
        return _spec(settings, "download_text.py", code.home(source.fetch), code.home(source.reader))

    def bits_per_byte(self, text: str, model: str) -> Spec:
        """How a text is presented to a model, and the model."""
        shown = differences(self.plan.texts[text], only=("name", "source", "window", "stride"))
        built, own = _factory(self.plan.models[model])
        return _spec({"text": shown, "model": self._scored(model), **built}, "bits_per_byte.py", *own)

    def download_task(self, task: str) -> Spec:
        """The entry of an lm-eval task, including the world if it comes from there."""
        entry = self.plan.harness[task]
        source = source_of("harness", entry)
        settings = {"task": differences(entry, without=NOT_IN_TASK), **self._world_of(source)}
        return _spec(settings, "download_task.py", code.home(source.fetch))

    def harness(self, task: str, model: str) -> Spec:
        """The entry of an lm-eval task, and the model."""
        entry = differences(self.plan.harness[task], without=NOT_IN_TASK)
        built, own = _factory(self.plan.models[model])
        return _spec({"task": entry, "model": self._scored(model), **built}, "harness.py", *own)

    def scores(self) -> Spec:
        """The id under which the scores of each model are published; none for quantised weights and checkpoints."""
        full = {
            name: model.id
            for name, model in self.plan.models.items()
            if getattr(model, "source", None) == "hub"
            and not getattr(model, "quantisation", None)
            and not is_checkpoint(name)
        }
        ids = {name: full.get(name, name) for name in self.plan.models}
        table = {} if self._published is None else {"published": files.sha256(self._published)}
        return _spec({"ids": ids, **table}, "scores.py")

    # ---- studies

    def study(self, path: str) -> Spec:
        """Which rows the table of a study uses, and its options."""
        study, target = self.plan.targets[path]
        settings = {"study": study.name, "rows": dict(target.rows), "options": dict(target.table)}
        return _spec(settings, "study.py", code.home(study.table))

    def draw(self, path: str) -> Spec:
        """What is drawn and how; for a study without its own table also which rows of other tables it uses."""
        study, target = self.plan.targets[path]
        rows = {} if study.table else {"rows": dict(target.rows)}
        settings = {"study": study.name, **rows, "options": dict(target.drawing)}
        modalities = self.plan.modalities(
            self.plan.models_of(target.rows["dataset"]) if "dataset" in target.rows else ()
        )
        colours = tuple((name, colour_of(name)) for name in sorted(modalities))
        return _spec(settings, "draw.py", code.home(study.draw), declared=colours)

    # ---- parts of them

    def _scored(self, model: str) -> dict[str, object]:
        """What the scores of a language model depend on, besides text and weights."""
        return differences(self.plan.models[model], without=NOT_IN_SCORES)

    @cached_property
    def _world(self) -> dict[str, object]:
        return differences(self.experiment.world)

    def _world_of(self, source: Source) -> dict[str, object]:
        """The settings of the world, for what comes from it."""
        return {"world": self._world} if source.is_of_world else {}

    def _alignment(self, *names: str) -> dict[str, object]:
        return differences(self.experiment.alignment, only=names)


def _factory(entry: Any) -> tuple[dict[str, str], tuple[Path, ...]]:
    """What jobs depend on that run the factory of a model: the version of its package if that is installed, or else
    where its code begins. Nothing for other models.
    """
    if (factory := getattr(entry, "factory", None)) is None:
        return {}, ()
    path = factory_files.find(factory)
    version = factory_files.installed_version(factory, path)
    return ({"package": version}, ()) if version else ({}, (path,))


def _spec(settings: Mapping[str, Any], *roots: str | Path, declared: tuple = ()) -> Spec:
    """``declared``: values that a job takes from a registry, if the code that declares them does more than that."""
    return Spec(settings, _code(roots, declared))


@cache
def _code(roots: tuple[str | Path, ...], declared: tuple) -> str:
    digest = code.digest(roots)
    return Spec({"code": digest, "declared": declared}).digest if declared else digest


@cache
def _contents(path: Path) -> str:
    """Digest of a local model's files: names and sizes, and the content of small ones (configuration, vocabulary).

    Gigabytes of weights are not read at every start.
    """
    found = {
        name: size if size > SMALL else files.sha256(path if path.is_file() else path / name)
        for name, size in files.sizes(path).items()
    }
    return Spec({"files": found}).digest


@cache
def _sizes(path: Path) -> str:
    """Digest of the names and sizes of a local data set's files, so that a touch or a fresh copy runs nothing.

    Reading 100,000 photographs at every start would take minutes.
    """
    return Spec({"sizes": files.sizes(path)}).digest
