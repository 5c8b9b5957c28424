"""The jobs of an experiment: which models run on which data, what is drawn, and which resources each job needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import filterfalse, product
from pathlib import Path

from pydantic import BaseModel

from prh.core.metrics import METRICS
from prh.core.preparation import preparation_arguments
from prh.core.sweeps import can_sweep
from prh.downloads import sources
from prh.experiment.checkpoints import final_step
from prh.experiment.schema import Experiment
from prh.io.addresses import is_commit
from prh.io.names import is_checkpoint, run_of
from prh.modalities import modality_of
from prh.studies import Study, Target, known

# What the download of an entry makes, below the results.
MADE = {
    "datasets": "datasets/{0}/source.json",
    "models": "models/{0}/weights.json",
    "texts": "texts/{0}.jsonl",
    "harness": "tasks/{0}/{0}.yaml",
}

WEIGHT_BYTES = {"4bit": 0.5, "8bit": 1, "float32": 4, "bfloat16": 2, "float16": 2}
SPARE = 6000
"""MB of main memory for libraries and a batch with its activations (1,200 measured with toy models)."""
ACTIVATIONS = 2e9
"""Bytes of GPU memory for a batch with its activations, besides a fifth of the weights."""
UNKNOWN = 10000
"""MB assumed for weights if the number of parameters is unknown."""


def _is_exact(entry: BaseModel) -> bool:
    """Whether an entry pins its exact content, by a commit or a hash."""
    revision, sha256 = getattr(entry, "revision", None), getattr(entry, "sha256", None)
    return bool(sha256 or (revision and is_commit(revision)))


def is_elsewhere(kind: str, entry: BaseModel) -> bool:
    """Whether an entry in a list of the experiment is downloaded."""
    return hasattr(entry, "source") and sources.source_of(kind, entry).is_elsewhere


class Plan:
    """The jobs of an experiment, by the names in their paths."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.datasets = {entry.name: entry for entry in experiment.datasets}
        self.models = {entry.name: entry for entry in experiment.models}
        self.texts = {entry.name: entry for entry in experiment.texts}
        self.harness = {entry.name: entry for entry in experiment.harness}

    # ---- which jobs there are

    def models_of(self, dataset: str) -> list[str]:
        """The models that are run on a data set, in the order of the experiment: those that find something to read.

        Without the checkpoints that their entries list.
        """
        return self._models_of[dataset]

    def checkpoints_of(self, dataset: str) -> list[str]:
        """The checkpoints that run on a data set. They are compared with `models_of` it, not with each other."""
        return self._checkpoints_of[dataset]

    @cached_property
    def _models_of(self) -> dict[str, list[str]]:
        return {dataset: list(filterfalse(is_checkpoint, self._readers(dataset))) for dataset in self.datasets}

    @cached_property
    def _checkpoints_of(self) -> dict[str, list[str]]:
        return {dataset: list(filter(is_checkpoint, self._readers(dataset))) for dataset in self.datasets}

    def _readers(self, dataset: str) -> list[str]:
        entry = self.datasets[dataset]
        wanted = self.models if entry.models is None else entry.models
        return [
            name for name, model in self.models.items() if name in wanted and modality_of(model).meets(entry, model)
        ]

    def runs(self) -> list[tuple[str, str]]:
        """Every (dataset, model) that has features."""
        return [(dataset, model) for dataset in self.datasets for model in self.all_of(dataset)]

    def all_of(self, dataset: str) -> list[str]:
        """The models that run on a data set, then its checkpoints."""
        return [*self.models_of(dataset), *self.checkpoints_of(dataset)]

    def comparisons(self) -> list[tuple[str, str]]:
        """Every (dataset, model) that has a row in the alignment matrix."""
        return [(dataset, model) for dataset, model in self.runs() if self.datasets[dataset].use != "probe"]

    def fetched_models(self) -> list[str]:
        """The models whose weights are downloaded, local or random: all except trained ones."""
        return [name for name in self.models if self.has_weights(name) and not self._is_trained(name)]

    def trained_models(self) -> list[str]:
        """The models that are trained in the idealised world."""
        return [name for name in self.models if self.has_weights(name) and self._is_trained(name)]

    def kept_steps(self, model: str) -> list[int]:
        """The steps at which the training of a world model saves its weights, for its checkpoints."""
        return [entry.step for name, entry in self.models.items() if run_of(name) == model and is_checkpoint(name)]

    def training_steps(self, model: str) -> int:
        """Number of steps of the training job of a world model, at least 1."""
        entry = self.models[model]
        return max(entry.training.steps if entry.step is None else entry.step, 1)

    def _is_trained(self, model: str) -> bool:
        return sources.source_of("models", self.models[model]).fetch is None

    def has_weights(self, model: str) -> bool:
        """Whether a model has weights, unlike encoders without parameters and given representations."""
        entry = self.models[model]
        return hasattr(entry, "source") and not modality_of(entry).is_given

    def encoded(self) -> list[str]:
        """The models whose features are computed by an encoder."""
        return [name for name, model in self.models.items() if not modality_of(model).is_given]

    def fetched(self) -> dict[tuple[str, str], Path]:
        """What each download writes, by list and name, for sources whose version is kept in the lock file."""
        results = Path(self.experiment.results)
        return {
            (kind, entry.name): results / made.format(entry.name)
            for kind, made in MADE.items()
            for entry in getattr(self.experiment, kind)
            if is_elsewhere(kind, entry) and not _is_exact(entry)
        }

    def given(self) -> list[str]:
        """The given representations: features and kernels in files, and the known kernel of the world."""
        return [name for name, model in self.models.items() if modality_of(model).is_given]

    def in_files(self) -> list[str]:
        """The given representations that are in files."""
        return [name for name in self.given() if hasattr(self.models[name], "files")]

    def probe_runs(self) -> list[tuple[str, str]]:
        """Every (training data set, model) that is probed; all tasks of one data set are one job."""
        trained_on = dict.fromkeys(probe.train for probe in self.experiment.probes)
        return [(dataset, model) for dataset in trained_on for model in self._probed(dataset)]

    def _probed(self, dataset: str) -> list[str]:
        """The probed models that run on every data set of the probes trained on ``dataset``."""
        common = set.intersection(*(set(self.all_of(name)) for name in self.probe_datasets(dataset)))
        return [
            name for name in self._measured("probes") if name in common and modality_of(self.models[name]).is_probed
        ]

    def probed_layers(self, dataset: str) -> list[int]:
        """The layers to keep on a data set that is used only for probes; empty for all layers."""
        if self.datasets[dataset].use != "probe":
            return []
        return sorted({probe.layer for probe in self.experiment.probes if dataset in (probe.train, probe.test)})

    def probe_datasets(self, dataset: str) -> list[str]:
        """The data sets that probes trained on ``dataset`` read: itself, then those they are tested on."""
        tests = [probe.test for probe in self.experiment.probes if probe.train == dataset and probe.test]
        return list(dict.fromkeys([dataset, *tests]))

    def scored(self, on: str = "texts") -> list[str]:
        """The models that are scored on ``texts`` or ``harness`` tasks: causal language models, and those that may turn
        out to be so.
        """
        return [name for name in self._measured(on) if modality_of(self.models[name]).is_scored(self.models[name])]

    def _measured(self, on: str) -> list[str]:
        """The models that are scored in one way, if they can be; checkpoints only if the experiment asks for it."""
        asked = on in self.experiment.figures.checkpoint_scores
        return [name for name in self.models if asked or not is_checkpoint(name)]

    def row(self, dataset: str, model: str) -> list[str]:
        """The models of a row of the alignment matrix: ``model``, then those before it in the experiment.

        A checkpoint is compared with the models of other modalities that are no checkpoints.
        """
        names = self.models_of(dataset)
        if is_checkpoint(model):
            modality = self.models[model].modality
            return [model, *(name for name in reversed(names) if self.models[name].modality != modality)]
        return names[names.index(model) :: -1]

    def row_needs(self, metric: str, kind: str) -> bool:
        """Whether a row of ``metric`` reads tables of that ``kind``, features or neighbours."""
        needs = METRICS[metric].needs
        return needs in ("neighbours", "both") if kind == "neighbours" else needs != "neighbours"

    @cached_property
    def measures(self) -> dict[str, dict[str, object]]:
        """How alignment is measured: metric and k, by their name in paths, such as mutual_knn_k10 or cka."""
        measures = {}
        for metric, k in product(self.experiment.alignment.metrics, self.experiment.alignment.k):
            k = k if METRICS[metric].needs_k else None
            measures[self.measure(metric, k)] = {"metric": metric, "k": k}
        return measures

    def measure(self, metric: str, k: int | None) -> str:
        """The name of a metric at k in paths."""
        return metric if k is None else f"{metric}_k{k}"

    # ---- what studies ask

    def compared(self, least: int, controls: bool = True) -> Iterator[tuple[str, list[str]]]:
        """(data set, its models) wherever at least ``least`` models are compared, with or without control data sets."""
        for dataset, entry in self.datasets.items():
            models = self.models_of(dataset)
            if len(models) >= least and (entry.use == "alignment" or (controls and entry.use == "control")):
                yield dataset, models

    def trajectories(self, dataset: str) -> dict[str, dict[str, int]]:
        """The training runs with three checkpoints or more on a data set: {run: {model: step}}, by rising step.

        The entry that lists them is its own last checkpoint, if its step is known.
        """
        runs: dict[str, dict[str, int]] = {run_of(name): {} for name in self.checkpoints_of(dataset)}
        for name in self.all_of(dataset):
            step = final_step(self.models[name])
            if step is not None and run_of(name) in runs:
                runs[run_of(name)][name] = step
        rising = {run: dict(sorted(steps.items(), key=lambda item: item[1])) for run, steps in runs.items()}
        return {run: steps for run, steps in rising.items() if len(steps) >= 3}

    def panels(self, controls: bool = True) -> Iterator[tuple[str, str, list[str]]]:
        """(data set, measure, models) wherever two models are compared."""
        for dataset, models in self.compared(least=2, controls=controls):
            for measure in self.measures:
                yield dataset, measure, models

    def values(self, measure: str) -> dict[str, str]:
        """The kinds of scores that a measure has, raw and calibrated, with the suffix of their figures' names."""
        bounded = METRICS[str(self.measures[measure]["metric"])].bounded
        calibrated = bounded and self.experiment.alignment.permutations > 0
        return {"score": ""} | ({"calibrated": "_calibrated"} if calibrated else {})

    def rows_of(self, dataset: str, measure: str) -> dict[str, object]:
        """The condition that selects a data set and a measure in the table of best layer pairs."""
        return {"dataset": dataset, **self.measures[measure]}

    def of_modality(self, modality: str, models: Iterable[str]) -> list[str]:
        """The models among ``models`` that have a modality."""
        return [name for name in models if self.models[name].modality == modality]

    def modalities(self, models: Iterable[str]) -> set[str]:
        """The modalities of ``models``."""
        return {self.models[name].modality for name in models}

    def is_swept(self, measure: str) -> bool:
        """Whether alignment is measured in galleries of growing size."""
        return bool(self.experiment.alignment.n and can_sweep(str(self.measures[measure]["metric"])))

    @property
    def alpha(self) -> float:
        """Significance level of thresholds and intervals."""
        return self.experiment.alignment.alpha

    @cached_property
    def targets(self) -> dict[str, tuple[Study, Target]]:
        """The figures of all studies, by their paths below the folder of figures, without extension."""
        return {target.path: (study, target) for study in known().values() for target in study.targets(self)}

    def figures(self) -> list[str]:
        """Paths, below the folder of figures, of every figure that the experiment can draw."""
        return [f"{path}.svg" for path in self.targets]

    # ---- what each of them needs

    def gpus(self, model: str) -> int:
        """Number of GPUs that a job with a model holds; 0 if the experiment runs on CPUs."""
        entry, compute = self.models[model], self.experiment.compute
        if compute.device == "cpu" or not self.has_weights(model):
            return 0
        if entry.device_map is None:
            return 1
        if entry.gpus is not None:
            return entry.gpus
        return math.ceil(with_activations(1e6 * self._weights_mb(model, "cuda")) / (compute.gpu_memory * 2**30))

    def memory(self, model: str, attempt: int) -> int:
        """MB of main memory for a job with a model, doubled with each attempt.

        Weights count once, since they pass through main memory on their way to a GPU. With device auto no GPU is
        assumed, because that is only known when the job starts.
        """
        weights = self._weights_mb(model, self.experiment.compute.device) if self.has_weights(model) else 0
        return math.ceil((SPARE + weights) * 2 ** (attempt - 1))

    def _weights_mb(self, model: str, device: str) -> float:
        """MB of the weights of a model once loaded."""
        parameters = self.models[model].parameters
        return UNKNOWN if parameters is None else parameters * self.weight_bytes(model, device) / 1e6

    def weight_bytes(self, model: str, device: str) -> float:
        """Bytes per weight of a model in memory; dtype auto is bfloat16 on ``device`` cuda, else float32."""
        entry = self.models[model]
        if not self.has_weights(model):
            return 0
        auto = "bfloat16" if device == "cuda" else "float32"
        return WEIGHT_BYTES[entry.quantisation or (auto if entry.dtype == "auto" else entry.dtype)]

    @property
    def preparation(self) -> dict[str, object]:
        """Arguments of ``prh.prepare``: the experiment's, or those of the authors' code if it asks for that."""
        return preparation_arguments(self.experiment.alignment.model_dump())


def with_activations(weights: float) -> float:
    """Bytes of device memory needed to run a model with that many bytes of weights."""
    return 1.2 * weights + ACTIVATIONS
