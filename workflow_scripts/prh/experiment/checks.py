"""Mistakes that only show when entries are compared: unknown or repeated names, more neighbours than a data set has
samples for, missing files.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

from pydantic import BaseModel

from prh.core import sample_sizes
from prh.core.metrics import METRICS
from prh.downloads.sources import source_of
from prh.experiment import code
from prh.experiment.messages import meant
from prh.experiment.schema import LISTS, Dataset, Experiment, GivenModel, KernelModel
from prh.experiment.schema.base import unusable_path
from prh.io.addresses import redacted
from prh.modalities import modality_of
from prh.models import factory_files


def mistakes_in(experiment: Experiment, folder: Path) -> list[str]:
    """A sentence for each mistake in an experiment; paths are relative to ``folder``."""
    return [
        *_repeated(experiment),
        *_unknown_names(experiment),
        *_metric_mistakes(experiment),
        *_size_mistakes(experiment),
        *_probe_mistakes(experiment),
        *_model_mistakes(experiment),
        *_factory_mistakes(experiment, folder),
        *_given_mistakes(experiment),
        *_alike_addresses(experiment),
        *_missing_paths(experiment, folder),
    ]


def _repeated(experiment: Experiment) -> list[str]:
    """Names and values that appear twice, also on a disk that ignores case, and outputs that would share one path."""
    mistakes = []
    for kind in LISTS:
        names = [entry.name for entry in getattr(experiment, kind)]
        mistakes += [
            f"{kind}: the name '{name}' is used {count} times; give each entry its own."
            for name, count in Counter(names).items()
            if count > 1
        ]
        alike: dict[str, str] = {}
        mistakes += [
            f"{kind}: the names '{alike[name.lower()]}' and '{name}' are one file on some disks; rename one."
            for name in dict.fromkeys(names)
            if alike.setdefault(name.lower(), name) != name
        ]
    models = {model.name for model in experiment.models}
    mistakes += [
        f"models: '{model}{ending}' has the path of a table of '{model}'; rename it."
        for model in sorted(models)
        for ending in (".best", ".sweep")
        if model + ending in models
    ]
    for key in ("metrics", "k", "n"):
        counts = Counter(getattr(experiment.alignment, key))
        mistakes += [
            f"alignment.{key}: {value} is listed {n} times; list it once." for value, n in counts.items() if n > 1
        ]
    return mistakes


def _unknown_names(experiment: Experiment) -> list[str]:
    known, figures = {model.name for model in experiment.models}, experiment.figures
    mistakes = [
        f"figures.layer_pairs: there is no model '{name}'."
        for pair in figures.layer_pairs
        for name in pair
        if name not in known
    ]
    for dataset in experiment.datasets:
        mistakes += [
            f"datasets, entry '{dataset.name}': there is no model '{name}'{meant(name, known)}."
            for name in dataset.models or ()
            if name not in known
        ]
    if figures.text not in {None, *(text.name for text in experiment.texts)}:
        mistakes.append(f"figures.text: there is no text '{figures.text}'.")
    vision = [model for model in experiment.models if model.modality == "vision"]
    families = {name for model in vision for name in (model.name, model.family) if name is not None}
    if figures.reference not in {None, *families}:
        question = meant(figures.reference, families)
        mistakes.append(f"figures.reference: there is no vision family or model '{figures.reference}'{question}.")
    return mistakes


def _probe_mistakes(experiment: Experiment) -> list[str]:
    labels = {entry.name: set(entry.labels) for entry in experiment.datasets}
    mistakes = []
    for probe in experiment.probes:
        for name in filter(None, (probe.train, probe.test)):
            if name not in labels:
                mistakes.append(f"probe '{probe.name}': there is no data set '{name}'{meant(name, labels)}.")
            elif probe.label not in labels[name]:
                mistakes.append(f"probe '{probe.name}': add '{probe.label}' to the labels of data set '{name}'.")
    return mistakes


def _model_mistakes(experiment: Experiment) -> list[str]:
    """Mistakes that the modality of an entry can see now, rather than in a job hours later."""
    mistakes = ((model.name, modality_of(model).mistake(model)) for model in experiment.models)
    return [f"models, entry '{name}': {mistake}." for name, mistake in mistakes if mistake]


def _factory_mistakes(experiment: Experiment, folder: Path) -> list[str]:
    """Factories that are not there, or are not Python, or import what is not. They are read and not run."""
    mistakes = []
    for model in experiment.models:
        if (factory := getattr(model, "factory", None)) is None:
            continue
        if mistake := factory_files.mistake(factory, folder) or _unreadable_import(factory, folder):
            mistakes.append(f"models, entry '{model.name}', factory: {mistake}.")
    return mistakes


def _unreadable_import(factory: str, folder: Path) -> str | None:
    """A file beside a factory that it imports and that is not Python."""
    path = factory_files.find(factory, folder)
    if factory_files.installed_version(factory, path):
        return None
    try:
        code.digest([path])
    except (SyntaxError, ValueError) as error:
        file, line = Path(getattr(error, "filename", None) or path).name, getattr(error, "lineno", None)
        return f"{file}{f', line {line}' if line else ''} is not Python ({getattr(error, 'msg', error)})"
    return None


def _given_mistakes(experiment: Experiment) -> list[str]:
    """Given representations of unknown data sets, and metrics that need more than a kernel."""
    mistakes, datasets = [], {entry.name for entry in experiment.datasets}
    for model in experiment.models:
        for name in model.files if isinstance(model, GivenModel) else ():
            if name not in datasets:
                question = meant(name, datasets)
                mistakes.append(f"models, entry '{model.name}', files: there is no data set '{name}'{question}.")
        if isinstance(model, KernelModel):
            mistakes += [
                f"models, entry '{model.name}': it is a kernel, but metric '{metric}' needs features; leave out one of "
                "them."
                for metric in experiment.alignment.metrics
                if metric in METRICS and METRICS[metric].needs == "features"
            ]
    return mistakes


def _alike_addresses(experiment: Experiment) -> list[str]:
    """Addresses that differ only in a secret, which is never stored: one would be mistaken for the other."""
    named: dict[str, tuple[str, str]] = {}
    mistakes = []
    for entry in (*experiment.datasets, *experiment.models):
        if (url := getattr(entry, "url", None)) is None:
            continue
        name, other = named.setdefault(redacted(url), (entry.name, url))
        if other != url:
            mistakes.append(
                f"the addresses of '{name}' and '{entry.name}' differ only in what may be a password or a signature; "
                "give both the same."
            )
    return mistakes


def _metric_mistakes(experiment: Experiment) -> list[str]:
    settings = experiment.alignment
    mistakes = [
        f"alignment.metrics: there is no metric '{name}'{meant(name, METRICS)}."
        for name in settings.metrics
        if name not in METRICS
    ]
    if settings.subsamples == 1:
        mistakes.append(
            "alignment.subsamples: one half-sample has no spread; ask for 2 at least (100 is plenty), or 0."
        )
    return mistakes


def _size_mistakes(experiment: Experiment) -> list[str]:
    """k, or k within half of the samples, that exceeds what a data set has."""
    settings, mistakes = experiment.alignment, []
    largest, halved = max(settings.k), bool(settings.subsamples or settings.splits)
    compared = {entry.name: _samples(entry, experiment) for entry in experiment.datasets if entry.use != "probe"}
    deepest = max((size - 1 if size else math.inf for size in compared.values()), default=0)
    needed = min(listed_for_halves(largest), deepest)
    if largest > settings.k_max:
        mistakes.append(f"alignment.k: {largest} is above k_max = {settings.k_max}; raise k_max.")
    elif halved and needed > settings.k_max:
        mistakes.append(
            f"alignment.k_max: {settings.k_max} is too short for k = {largest} in halves of the samples; raise it to "
            f"{needed}, or set subsamples and splits to 0."
        )
    if settings.n and largest >= min(settings.n):
        mistakes.append(f"alignment.n: a gallery of {min(settings.n)} is too small for k = {largest}.")
    for name, size in compared.items():
        if size is None:
            continue
        if largest >= size:
            mistakes.append(
                f"alignment.k: {largest} neighbours need more than the {size} samples of data set '{name}'; k must be "
                "below the number of samples."
            )
        elif halved and largest >= size // 2:
            mistakes.append(
                f"alignment.k: {largest} neighbours need more than half of the {size} samples of data set '{name}'; "
                "lower k, or set subsamples and splits to 0."
            )
        for metric in settings.metrics:
            if metric in METRICS and (mistake := sample_sizes.mistake(size, metric, halved=halved)):
                mistakes.append(f"data set '{name}': {mistake}")
        if settings.n and max(settings.n) > size:
            mistakes.append(
                f"alignment.n: a gallery of {max(settings.n)} needs more than the {size} samples of data set '{name}'."
            )
    return mistakes


def _samples(entry: Dataset, experiment: Experiment) -> int | None:
    """The most samples that a data set can have according to its entry; None if that does not say."""
    return source_of("datasets", entry).samples(entry, experiment.world)


def listed_for_halves(k: int) -> int:
    """How deep neighbours must be listed for k of them to lie in every random half of the samples.

    Of a list of m, m / 2 neighbours do, give or take sqrt(m) / 2. The answer is the m at which k is seven times that
    below: of all samples, layers and halves of a large experiment (10^9) none is then expected to have fewer.
    """
    return math.ceil(2 * k + 24.5 + 7 * math.sqrt(2 * k + 12.25))


def _missing_paths(experiment: Experiment, folder: Path) -> list[str]:
    mistakes = []
    entries = (experiment.datasets, experiment.models, experiment.texts, experiment.harness)
    for kind, group in zip(("data set", "model", "text", "harness task"), entries, strict=True):
        for entry, path in ((one, path) for one in group for path in _paths_of(one)):
            if unusable := unusable_path(path):
                mistakes.append(f"{kind} '{entry.name}': path {path!r} {unusable}; rename it.")
            elif not os.path.exists(folder / path):  # Path.exists raises for impossible names
                mistakes.append(f"{kind} '{entry.name}': path {path} does not exist (relative to {folder.resolve()}).")
    return mistakes


def _paths_of(entry: BaseModel) -> list[str]:
    """The local files and folders that an entry names."""
    if isinstance(entry, GivenModel):
        return list(entry.files.values())
    return [entry.path] if getattr(entry, "path", None) is not None else []
