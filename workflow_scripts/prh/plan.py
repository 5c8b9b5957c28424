"""What an experiment asks for, job by job: which models meet which data, and the settings that each job depends on.

A setting enters the `spec` of exactly the jobs whose result it can change, as one canonical string: the same settings
give the same string however they are written, so that a reordered file runs nothing again.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path

from prh.config import Experiment
from prh.metrics import METRICS

# What of a model's entry has no part in its weights, and what has none in its features.
NOT_IN_WEIGHTS = {
    *("family", "pooling", "layers", "special_tokens", "template", "caption"),
    *("dtype", "seed", "model_args", "trust_remote_code"),
}
NOT_IN_FEATURES = {"family"}

PREPARATION = ("clamp", "clamp_scope", "normalise")
EVIDENCE = ("permutations", "subsamples", "splits", "alpha", "seed")


def canonical(settings: object) -> str:
    """JSON with sorted keys."""
    return json.dumps(settings, sort_keys=True)


class Plan:
    """The jobs of an experiment, by the names that stand in their paths."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.datasets = {entry.name: entry for entry in experiment.datasets}
        self.models = {entry.name: entry for entry in experiment.models}

    # ---- which jobs there are

    def models_of(self, dataset: str) -> list[str]:
        """The models that find something to read in a data set, in the order of the experiment."""
        entry = self.datasets[dataset]
        readable = {"vision": entry.image is not None, "language": entry.captions is not None}
        return [name for name, model in self.models.items() if readable[model.modality]]

    def runs(self) -> list[tuple[str, str]]:
        """Every (dataset, model) of the experiment."""
        return [(dataset, model) for dataset in self.datasets for model in self.models_of(dataset)]

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
        """The model pairs whose layers are drawn: those of the experiment, and the strongest one (named by its table)."""
        chosen = {f"{x}__{y}": [x, y] for x, y in self.experiment.figures.layer_pairs}
        return {"strongest": []} | chosen

    def figures(self) -> Iterator[str]:
        """Paths, below the folder of figures, of all that the models of the experiment allow to draw."""
        for dataset, measure in product(self.datasets, self.measures):
            names = self.models_of(dataset)
            if len(names) < 2:
                continue
            folder = f"{dataset}/{measure}"
            yield f"{folder}/alignment_matrix.svg"
            if self.experiment.alignment.permutations and METRICS[str(self.measures[measure]["metric"])].bounded:
                yield f"{folder}/alignment_matrix_calibrated.svg"
            for pair, chosen in self.layer_pairs.items():
                if set(chosen) <= set(names):
                    yield f"{folder}/layer_matrix_{pair}.svg"
            if {"vision", "language"} <= {self.models[name].modality for name in names}:
                yield f"{folder}/cross_modal.svg"

    # ---- what each of them depends on

    def dataset_spec(self, dataset: str) -> str:
        """The entry of a data set."""
        return canonical(self.datasets[dataset].model_dump(mode="json"))

    def weights_spec(self, model: str) -> str:
        """What the weights of a model depend on."""
        return canonical(self.models[model].model_dump(mode="json", exclude=NOT_IN_WEIGHTS))

    def features_spec(self, model: str) -> str:
        """What the features of a model depend on, besides data and weights."""
        return canonical(self.models[model].model_dump(mode="json", exclude=NOT_IN_FEATURES))

    def neighbours_spec(self) -> str:
        """How features are prepared, and how deep neighbours are listed."""
        return canonical(self._alignment(*PREPARATION, "k_max"))

    def row_spec(self, metric: str) -> str:
        """What a row depends on: k only for metrics that look at neighbours, and nothing of other metrics."""
        k = self.experiment.alignment.k if METRICS[metric].needs_k else []
        settings = {"k": k, **self._alignment(*EVIDENCE)}
        return canonical({"metric": metric, "settings": settings, "preparation": self._alignment(*PREPARATION)})

    def models_spec(self) -> str:
        """Name, modality and family of each model, in the order of the experiment."""
        rows = [
            {"model": name, "modality": model.modality, "family": model.family or name}
            for name, model in self.models.items()
        ]
        return canonical(rows)

    def figure_spec(self, dataset: str, measure: str) -> str:
        """The rows of a table that a figure is about."""
        return canonical({"dataset": dataset, **self.measures[measure]})

    def _alignment(self, *names: str) -> dict[str, object]:
        return self.experiment.alignment.model_dump(mode="json", include=set(names))


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


def _imports(path: Path) -> Iterator[str]:
    """Names of the prh modules that a file imports; ``from prh import tables`` names prh and prh.tables."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "prh")
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "prh":
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
