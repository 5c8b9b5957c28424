"""What an experiment asks for, job by job: which models meet which data, and the settings that each job depends on.

A setting enters the `spec` of exactly the jobs whose result it can change, as one canonical string: the same settings
give the same string however they are written, so that a reordered file runs nothing again.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from functools import cache, cached_property
from itertools import product
from pathlib import Path

from pydantic import BaseModel

from prh.config import Experiment
from prh.metrics import METRICS
from prh.models import may_be_causal
from prh.sweeps import can_sweep

# What of a model's entry is told in tables or to the scheduler only, what has no part in its weights, and what has none
# in its features.
ABOUT = {"family", "parameters", "objective", "training_data", "licence", "gated", "paper", "gpus"}
NOT_IN_WEIGHTS = ABOUT | {
    *("pooling", "layers", "special_tokens", "template", "caption"),
    *(
        "dtype",
        "seed",
        "model_args",
        "trust_remote_code",
        "causal",
        "selftest",
        "checkpoint",
        "device_map",
        "quantisation",
    ),
}
NOT_IN_FEATURES = ABOUT | {"causal"}
NOT_IN_SCORES = ABOUT | {"pooling", "special_tokens", "template", "caption"}
NOT_IN_DATA = {"use", "models", "licence"}
NOT_IN_TEXT = {"window", "stride", "licence"}

# What the download of an entry makes, below the results.
MADE = {
    "datasets": "datasets/{0}/source.json",
    "models": "models/{0}/weights.json",
    "texts": "texts/{0}.jsonl",
    "harness": "tasks/{0}/{0}.yaml",
}

COMMIT = re.compile("[0-9a-f]{40}")

PREPARATION = ("clamp", "clamp_scope", "normalise")
EVIDENCE = ("permutations", "subsamples", "splits", "alpha", "seed")

WEIGHT_BYTES = {"4bit": 0.5, "8bit": 1, "float32": 4, "bfloat16": 2, "float16": 2}
SPARE = 6000
"""MB of main memory for libraries, a batch and what it makes (measured with toy models: 1,200)."""
ACTIVATIONS = 2e9
"""Bytes of a GPU for a batch and what it makes, besides a fifth of the weights."""
UNKNOWN = 10000
"""MB of weights that are assumed where nothing tells the number of parameters."""


def canonical(settings: object) -> str:
    """JSON with sorted keys."""
    return json.dumps(settings, sort_keys=True)


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
            if entry.source in ("hub", "url", "lm_eval") and not _is_exact(entry)
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

    # ---- what each of them depends on

    def dataset_spec(self, dataset: str) -> str:
        """The entry of a data set; with the world, for one that comes from there."""
        entry = self.datasets[dataset]
        world = {"world": self._world()} if entry.source == "world" else {}
        return canonical(entry.model_dump(mode="json", exclude=NOT_IN_DATA) | world)

    def weights_spec(self, model: str) -> str:
        """What the weights of a model depend on."""
        return canonical(self.models[model].model_dump(mode="json", exclude=NOT_IN_WEIGHTS))

    def training_spec(self, model: str) -> str:
        """What the training of a model of the world depends on."""
        wanted = {"name", "modality", "training", "model_args"}
        return canonical(self.models[model].model_dump(mode="json", include=wanted) | {"world": self._world()})

    def world_spec(self) -> str:
        """The settings of the world."""
        return canonical(self._world())

    def probe_spec(self, dataset: str) -> str:
        """The tasks that are probed on a training data set."""
        return canonical([probe.model_dump(mode="json") for probe in self.experiment.probes if probe.train == dataset])

    def text_spec(self, text: str) -> str:
        """What a text depends on, with the world it may come from."""
        return self._with_world(self.texts[text], without=NOT_IN_TEXT)

    def windows_spec(self, text: str) -> str:
        """How a text is shown to models."""
        return canonical(self.texts[text].model_dump(mode="json", include={"name", "window", "stride"}))

    def harness_spec(self, task: str) -> str:
        """The entry of a task of lm-eval, with the world it may come from."""
        return self._with_world(self.harness[task])

    def features_spec(self, model: str) -> str:
        """What the features of a model depend on, besides data and weights."""
        return canonical(self.models[model].model_dump(mode="json", exclude=NOT_IN_FEATURES))

    def scoring_spec(self, model: str) -> str:
        """What the scores of a language model depend on, besides text and weights."""
        return canonical(self.models[model].model_dump(mode="json", exclude=NOT_IN_SCORES))

    def neighbours_spec(self) -> str:
        """How features are prepared, and how deep neighbours are listed."""
        return canonical(self._alignment(*PREPARATION, "k_max"))

    def row_spec(self, metric: str) -> str:
        """What a row depends on: k only for metrics that look at neighbours, and nothing of other metrics."""
        k = self.experiment.alignment.k if METRICS[metric].needs_k else []
        settings = {"k": k, **self._alignment(*EVIDENCE)}
        return canonical({"metric": metric, "settings": settings, "preparation": self._alignment(*PREPARATION)})

    def sweep_spec(self, metric: str) -> str:
        """What a row of a sweep over n depends on."""
        row = json.loads(self.row_spec(metric))
        row["settings"] |= {"subsamples": 0, "splits": 0}
        return canonical(row | {"sizes": sorted(self.experiment.alignment.n)})

    def models_spec(self) -> str:
        """What tables tell of each model, in the order of the experiment."""
        rows = [
            {
                "model": name,
                "modality": model.modality,
                "family": model.family or name,
                "parameters": getattr(model, "parameters", None),
                "quantisation": getattr(model, "quantisation", None),
            }
            for name, model in self.models.items()
        ]
        return canonical(rows)

    def published_spec(self) -> str:
        """Under which id the scores of each model are published; quantised weights do not share those of the full."""
        full = {
            name: model.id
            for name, model in self.models.items()
            if model.source == "hub" and not getattr(model, "quantisation", None)
        }
        return canonical({name: full.get(name, name) for name in self.models})

    def join_spec(self, dataset: str, measure: str, number: int, value: str) -> str:
        """What the table of figure 2, 3 or 4 depends on: its rows, its scores and its choices."""
        figures = self.experiment.figures
        text = figures.text or next((text.name for text in self.experiment.texts), None)
        choices: dict[int, dict[str, object]] = {
            2: {},
            3: {"task": text},
            4: {
                "modelling_task": text,
                "tasks": {task.name: task.metric for task in self.experiment.harness},
                "reference": figures.reference or self._last_vision_family(dataset),
            },
        }
        where = {"dataset": dataset, **self.measures[measure]}
        return canonical({"where": where, "options": {"value": value, **choices[number]}})

    def drawing_spec(self, number: int) -> str:
        """Arguments of the drawing of figure 2, 3 or 4: what its tasks are called."""
        return canonical({"tasks": self.experiment.figures.tasks} if number == 2 else {})

    def _last_vision_family(self, dataset: str) -> str | None:
        vision = [name for name in self.models_of(dataset) if self.models[name].modality == "vision"]
        return self.models[vision[-1]].family or vision[-1] if vision else None

    def _world(self) -> dict[str, object]:
        return self.experiment.world.model_dump(mode="json")

    def _with_world(self, entry: BaseModel, without: set[str] | None = None) -> str:
        world = {"world": self._world()} if entry.source == "world" else {}
        return canonical(entry.model_dump(mode="json", exclude=without) | world)

    def figure_spec(self, dataset: str, measure: str) -> str:
        """The rows of a table that a figure is about."""
        return canonical({"dataset": dataset, **self.measures[measure]})

    def _alignment(self, *names: str) -> dict[str, object]:
        return self.experiment.alignment.model_dump(mode="json", include=set(names))


def with_activations(weights: float) -> float:
    """Bytes of the device that computes with so many bytes of weights."""
    return 1.2 * weights + ACTIVATIONS


# ---- the code of a job ----------------------------------------------------------------------------------------


def modules_of(programs: list[Path], library: Path) -> list[Path]:
    """The files of the prh modules that ``programs`` import, directly or through each other, in alphabetical order.

    ``library`` is the folder that holds the package. Imports are read off the source, those inside functions too.
    """
    found: set[Path] = set()
    todo = [*programs]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imports(path):
            place = library.joinpath(*name.split("."))
            todo += [file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()]
    return sorted(found.difference(programs[:1]))


@cache
def _imports(path: Path) -> set[str]:
    """Names of the prh modules that a file imports, with the packages that hold them.

    ``from prh import tables`` may mean the module prh.tables or a name in prh: both are given.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    parts = [name.split(".") for name in names if name.split(".")[0] == "prh"]
    return {".".join(name[:length]) for name in parts for length in range(1, len(name) + 1)}
