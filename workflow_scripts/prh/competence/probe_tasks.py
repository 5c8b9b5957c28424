"""The tasks of linear probes: from the labels and features of data sets to scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from prh.competence import probe_samples, scores
from prh.competence.probes import linear_probe
from prh.competence.scores import Scored
from prh.datasets import shards
from prh.jobs.about import about
from prh.jobs.progress import Progress

if TYPE_CHECKING:
    from prh.experiment.schema import Probe

log = logging.getLogger(__name__)


def datasets_of(tasks: Sequence[Probe]) -> list[str]:
    """The data sets that tasks are trained and tested on, each once, in the order of the tasks."""
    return list(dict.fromkeys(name for task in tasks for name in (task.train, task.test) if name))


def score_probes(
    model: str, tasks: Sequence[Probe], shards_of: Mapping[str, Path], features_of: Mapping[str, Path]
) -> Scored:
    """Top-1 accuracy of a model on each of ``tasks``.

    Parameters
    ----------
    model : str
        Its name.
    tasks : sequence of prh.experiment.schema.Probe
        What is read off which layer, where it is trained and where tested.
    shards_of, features_of : mappings
        The folder of shards and the features table of every data set of `datasets_of`.

    Raises
    ------
    ValueError
        Labels and features do not fit each other, or do not make a task: see `prh.competence.probe_samples` and
        `prh.competence.probes.linear_probe`.
    """
    rows = []
    with Progress(f"probes of {model}", total=len(tasks), unit="task") as progress:
        for task in tasks:
            with about(f"model {model!r}"), about(f"task {task.name!r}"):
                train = _labelled(task, task.train, shards_of, features_of)
                test = None if task.test is None else _labelled(task, task.test, shards_of, features_of)
                train, test = probe_samples.split(train, test, task.limit, task.test_share, task.seed)
                result = linear_probe(train.features, train.labels, test.features, test.labels, seed=task.seed)
            log.info("%s: top-1 %.3f ± %.3f (%d classes)", task.name, result.top1, result.stderr, result.classes)
            score = {"value": result.top1, "stderr": result.stderr, "n": result.n_test}
            rows.append({"model": model, "task": task.name, "metric": "top1", **score})
            progress.advance()
    return scores.measured(pl.DataFrame(rows))


def _labelled(
    task: Probe, dataset: str, shards_of: Mapping[str, Path], features_of: Mapping[str, Path]
) -> probe_samples.Labelled:
    """The features of a data set with their labels for a task."""
    folder = shards_of[dataset]
    with about(f"labels {task.label!r} in {folder}"):
        ids, labels = shards.labels_of(sorted(folder.glob("*.parquet")), task.label, dataset)
    if task.classes is not None:
        probe_samples.require_classes(labels, task.classes, f"Data set {dataset!r} of task {task.name!r}")
    if task.bins is not None:
        labels = probe_samples.merged(labels, task.classes, task.bins)
    with about(str(features_of[dataset])):
        return probe_samples.Labelled.read(features_of[dataset], ids, labels, task.layer, folder)
