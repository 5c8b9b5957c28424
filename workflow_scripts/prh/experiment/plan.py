"""What an experiment asks for, job by job: which models meet which data, what is drawn, and what each job needs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path

from pydantic import BaseModel

from prh.core.metrics import METRICS
from prh.core.preparation import preparation_arguments
from prh.core.sweeps import can_sweep
from prh.experiment.config import Experiment
from prh.models.repositories import may_be_causal

# What the download of an entry makes, below the results.
MADE = {
    "datasets": "datasets/{0}/source.json",
    "models": "models/{0}/weights.json",
    "texts": "texts/{0}.jsonl",
    "harness": "tasks/{0}/{0}.yaml",
}

ELSEWHERE = ("hub", "url", "lm_eval")
"""Sources of entries that are fetched."""
COMMIT = re.compile("[0-9a-f]{40}")

WEIGHT_BYTES = {"4bit": 0.5, "8bit": 1, "float32": 4, "bfloat16": 2, "float16": 2}
SPARE = 6000
"""MB of main memory for libraries, a batch and what it makes (measured with toy models: 1,200)."""
ACTIVATIONS = 2e9
"""Bytes of a GPU for a batch and what it makes, besides a fifth of the weights."""
UNKNOWN = 10000
"""MB of weights that are assumed where nothing tells the number of parameters."""


def _is_exact(entry: BaseModel) -> bool:
    """Whether an entry names the very bytes that it means, by a commit or a hash."""
    revision, sha256 = getattr(entry, "revision", None), getattr(entry, "sha256", None)
    return bool(sha256 or (revision and COMMIT.fullmatch(revision)))


class Plan:
    """The jobs of an experiment, by the names that stand in their paths."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.datasets = {entry.name: entry for entry in experiment.datasets}
        self.models = {entry.name: entry for entry in experiment.models}
        self.texts = {entry.name: entry for entry in experiment.texts}
        self.harness = {entry.name: entry for entry in experiment.harness}

    # ---- which jobs there are

    def models_of(self, dataset: str) -> list[str]:
        """The models that are run on a data set, in the order of the experiment: those that find something to read."""
        return self._models_of[dataset]

    @cached_property
    def _models_of(self) -> dict[str, list[str]]:
        return {dataset: self._readers(dataset) for dataset in self.datasets}

    def _readers(self, dataset: str) -> list[str]:
        entry = self.datasets[dataset]
        readable = {
            "vision": entry.image is not None,
            "language": entry.captions is not None and entry.use != "probe",
            "world": entry.source == "world" and entry.use != "probe",
        }
        wanted = self.models if entry.models is None else entry.models
        return [name for name, model in self.models.items() if readable[model.modality] and name in wanted]

    def runs(self) -> list[tuple[str, str]]:
        """Every (dataset, model) of which there are features."""
        return [(dataset, model) for dataset in self.datasets for model in self.models_of(dataset)]

    def comparisons(self) -> list[tuple[str, str]]:
        """Every (dataset, model) that has a row in the alignment matrix."""
        return [(dataset, model) for dataset, model in self.runs() if self.datasets[dataset].use != "probe"]

    def by_source(self, *sources: str) -> list[str]:
        """The models that are seen through weights from one of ``sources``."""
        return [name for name, model in self.models.items() if model.modality != "world" and model.source in sources]

    def fetched(self) -> dict[tuple[str, str], Path]:
        """What the downloads make, by list and name, of the sources whose version a lock file holds."""
        results = Path(self.experiment.results)
        return {
            (kind, entry.name): results / made.format(entry.name)
            for kind, made in MADE.items()
            for entry in getattr(self.experiment, kind)
            if entry.source in ELSEWHERE and not _is_exact(entry)
        }

    def realities(self) -> list[str]:
        """The models that are the kernel of the world itself."""
        return [name for name, model in self.models.items() if model.modality == "world"]

    def probe_runs(self) -> list[tuple[str, str]]:
        """Every (training data set, vision model) that is probed; all tasks of one data set are one job."""
        trained_on = dict.fromkeys(probe.train for probe in self.experiment.probes)
        return [(dataset, model) for dataset in trained_on for model in self._probed(dataset)]

    def _probed(self, dataset: str) -> list[str]:
        """The vision models that are run on all data sets of the probes trained on ``dataset``."""
        common = set.intersection(*(set(self.models_of(name)) for name in self.probe_datasets(dataset)))
        return [name for name in self._vision() if name in common]

    def probed_layers(self, dataset: str) -> list[int]:
        """The layers whose features are kept on a data set that is there for probes only; empty for all layers."""
        if self.datasets[dataset].use != "probe":
            return []
        return sorted({probe.layer for probe in self.experiment.probes if dataset in (probe.train, probe.test)})

    def probe_datasets(self, dataset: str) -> list[str]:
        """The data sets that probes trained on ``dataset`` read, itself first."""
        tests = [probe.test for probe in self.experiment.probes if probe.train == dataset and probe.test]
        return list(dict.fromkeys([dataset, *tests]))

    def scored(self) -> list[str]:
        """The language models that are scored on text: causal ones, and those that may turn out to be so."""
        return [
            name
            for name, model in self.models.items()
            if model.modality == "language" and model.library == "transformers" and may_be_causal(model)
        ]

    def _vision(self) -> list[str]:
        return [name for name, model in self.models.items() if model.modality == "vision"]

    def row(self, dataset: str, model: str) -> list[str]:
        """The models of a row of the alignment matrix: ``model``, then those before it in the experiment."""
        names = self.models_of(dataset)
        return names[names.index(model) :: -1]

    def row_needs(self, metric: str, kind: str) -> bool:
        """Whether a row of ``metric`` reads tables of ``kind``, features or neighbours."""
        return METRICS[metric].needs in (kind, "both")

    @cached_property
    def measures(self) -> dict[str, dict[str, object]]:
        """How alignment is measured: metric and k by a name for paths, such as mutual_knn_k10, or cka without a k."""
        found: dict[str, dict[str, object]] = {}
        for metric, k in product(self.experiment.alignment.metrics, self.experiment.alignment.k):
            if METRICS[metric].needs_k:
                found[f"{metric}_k{k}"] = {"metric": metric, "k": k}
            else:
                found[metric] = {"metric": metric, "k": None}
        return found

    @cached_property
    def layer_pairs(self) -> dict[str, list[str]]:
        """The model pairs whose layers are drawn: those of the experiment, and the strongest one (found in a table)."""
        chosen = {f"{x}__{y}": [x, y] for x, y in self.experiment.figures.layer_pairs}
        return {"strongest": []} | chosen

    def figures(self) -> Iterator[str]:
        """Paths, below the folder of figures, of all that the models of the experiment allow to draw."""
        for dataset, measure in product(self.datasets, self.measures):
            names = self.models_of(dataset)
            if len(names) < 2 or self.datasets[dataset].use == "probe":
                continue
            folder = f"{dataset}/{measure}"
            yield f"{folder}/alignment_matrix.svg"
            if self.is_calibrated(measure):
                yield f"{folder}/alignment_matrix_calibrated.svg"
            for pair, chosen in self.layer_pairs.items():
                if set(chosen) <= set(names):
                    yield f"{folder}/layer_matrix_{pair}.svg"
            if self.experiment.alignment.n and can_sweep(str(self.measures[measure]["metric"])):
                yield f"{folder}/n_sweep.svg"
            if {"vision", "language"} <= {self.models[name].modality for name in names}:
                yield f"{folder}/cross_modal.svg"
            if self.datasets[dataset].use == "alignment":
                kinds = ["", "_calibrated"] if self.is_calibrated(measure) else [""]
                yield from (f"{folder}/figure{number}{kind}.svg" for number in self.joins(dataset) for kind in kinds)

        yield from self._figures_over_measures()

    def _figures_over_measures(self) -> Iterator[str]:
        """Figures that show several k, or several metrics, at once."""
        metrics, ks = self.experiment.alignment.metrics, self.experiment.alignment.k
        for dataset, entry in self.datasets.items():
            names = self.models_of(dataset)
            if entry.use != "alignment" or len(names) < 3:
                continue
            if len(self.measures) > 1 and len(metrics) > 1:
                yield f"{dataset}/metric_correlation.svg"
            if len(ks) > 1 and {"vision", "language"} <= {self.models[name].modality for name in names}:
                yield from (f"{dataset}/k_sweep_{metric}.svg" for metric in metrics if METRICS[metric].needs_k)

    def is_calibrated(self, measure: str) -> bool:
        """Whether there are calibrated scores of ``measure``."""
        return bool(self.experiment.alignment.permutations and METRICS[str(self.measures[measure]["metric"])].bounded)

    def joins(self, dataset: str) -> list[int]:
        """The numbers of the paper's figures for which the experiment has models and scores enough (three models)."""
        names = set(self.models_of(dataset))
        vision, scored = names.intersection(self._vision()), names.intersection(self.scored())
        across = len(scored) >= 3 and vision and self.experiment.texts
        enough = {
            2: len(vision) >= 3 and self.experiment.probes,
            3: across,
            4: across and self.experiment.harness,
        }
        return [number for number, there in enough.items() if there]

    # ---- what each of them needs

    def gpus(self, model: str) -> int:
        """How many GPUs a job with a model holds; 0 where the experiment computes on CPUs."""
        entry, compute = self.models[model], self.experiment.compute
        if compute.device == "cpu":
            return 0
        if entry.device_map is None:
            return 1
        if entry.gpus is not None:
            return entry.gpus
        return math.ceil(with_activations(1e6 * self._weights_mb(model, "cuda")) / (compute.gpu_memory * 2**30))

    def memory(self, model: str, attempt: int) -> int:
        """MB of main memory of a job with a model: its weights once, on their way to a GPU too; doubled by attempt.

        With device auto, as if no GPU were there: nobody knows before the job starts.
        """
        weights = self._weights_mb(model, self.experiment.compute.device)
        return math.ceil((SPARE + weights) * 2 ** (attempt - 1))

    def _weights_mb(self, model: str, device: str) -> float:
        """MB of the weights of a model as they are loaded."""
        parameters = self.models[model].parameters
        return UNKNOWN if parameters is None else parameters * self.weight_bytes(model, device) / 1e6

    def weight_bytes(self, model: str, device: str) -> float:
        """Bytes of a weight of a model in memory; dtype auto is bfloat16 for ``device`` cuda, float32 for any other."""
        entry = self.models[model]
        auto = "bfloat16" if device == "cuda" else "float32"
        return WEIGHT_BYTES[entry.quantisation or (auto if entry.dtype == "auto" else entry.dtype)]

    @property
    def preparation(self) -> dict[str, object]:
        """Arguments of ``prh.prepare``: those of the experiment, or of the authors' code where it names that."""
        return preparation_arguments(self.experiment.alignment.model_dump())


def with_activations(weights: float) -> float:
    """Bytes of the device that computes with so many bytes of weights."""
    return 1.2 * weights + ACTIVATIONS
