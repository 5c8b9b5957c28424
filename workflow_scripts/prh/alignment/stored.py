"""Rows of the alignment matrix of models whose features and neighbours are stored as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import polars as pl
import pyarrow as pa

from prh.alignment import comparisons, representations
from prh.core import sample_sizes
from prh.core.metrics import METRICS, Representation
from prh.core.preparation import preparation_arguments
from prh.io import tables
from prh.jobs.progress import Progress

if TYPE_CHECKING:
    from prh.experiment.schema import Alignment

Opened = TypeVar("Opened")


class StoredModel(NamedTuple):
    """A model and its tables: features, neighbours, or both, of the same samples."""

    name: str
    features: Path | None
    neighbours: Path | None = None

    @property
    def table(self) -> Path:
        """The table that tells the samples."""
        return self.neighbours or self.features


class RowModels(NamedTuple):
    """The models of a row, its own first.

    Those in ``removed`` are not in the experiment any more: where the samples have changed since, they are left out.
    """

    all: Sequence[StoredModel]
    removed: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        features: Sequence[Path] = (),
        neighbours: Sequence[Path] = (),
        removed: Sequence[str] = (),
    ) -> RowModels:
        """Models by their names and the tables of one kind or of both, as many as names."""
        nothing = [None] * len(names)
        return cls([*map(StoredModel, names, features or nothing, neighbours or nothing)], removed)

    def samples(self) -> list[str]:
        """The samples of the first."""
        return representations.read_samples(self.all[0].table)

    def groups(self, shards: Path | None, samples: Sequence[str]) -> Any:
        """The group of each sample (`prh.alignment.representations.read_groups`); None where there are no shards."""
        return None if shards is None else representations.read_groups(shards, samples, self.all[0].table)

    def others(
        self, samples: Sequence[str], opened: Callable[[StoredModel], Opened], progress: Progress
    ) -> Iterator[Opened]:
        """All but the first, opened one at a time: a row needs no more memory for more models."""
        first, *others = self.all
        for model in others:
            required = model.name not in self.removed
            if representations.has_samples(model.table, samples, first.table, required=required):
                yield opened(model)
            progress.advance()


def row(
    models: RowModels, metric: str, section: Alignment, shards: Path | None = None, *, device: str, memory_gb: float
) -> tuple[pa.Table, pl.DataFrame, dict[str, Any]]:
    """Compare the first of ``models`` with the others.

    Parameters
    ----------
    models : RowModels
        Tables of the kinds that the metric needs, all of the same samples.
    metric : str
        A key of `prh.core.metrics.METRICS`.
    section : prh.experiment.schema.Alignment
        How layers are prepared, and how models are compared.
    shards : Path, optional
        Folder of the shards, where samples are grouped.
    device, memory_gb : str, float
        Where products are taken, and a bound on what one step holds.

    Returns
    -------
    scores : pyarrow.Table
        All layer pairs (schema `prh.io.tables.ALIGNMENT`).
    best : polars.DataFrame
        The best ones (schema `prh.alignment.comparisons.BEST`).
    facts : dict
        What the footer of both says of them.

    Raises
    ------
    TableError
        Tables of other samples.
    ValueError
        Too few samples for the metric or the evidence.
    """
    samples, preparation = models.samples(), preparation_arguments(section.model_dump())
    halved = bool(section.subsamples or section.splits)
    sample_sizes.require(len(samples), metric, section.k if METRICS[metric].needs_k else (), halved=halved)
    groups = models.groups(shards, samples)

    def opened(model: StoredModel) -> Representation:
        return representations.representation(*model, preparation, device=device, memory_gb=memory_gb)

    first = models.all[0]
    with Progress(f"{metric} of {first.name}", total=len(models.all) - 1, unit="model") as progress:
        others = models.others(samples, opened, progress)
        scores, best = comparisons.row(opened(first), others, metric, comparisons.Settings.of(section), groups)
    facts = {"samples": tables.digest_of_samples(samples), "left_out": comparisons.left_out(best)}
    return scores, best, facts


def sweep_row(
    models: RowModels, metric: str, section: Alignment, shards: Path | None = None, *, device: str, memory_gb: float
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Compare the first of ``models`` with the others in the growing galleries of ``section.n``.

    Parameters and errors are those of `row`; all models have features.

    Returns
    -------
    best : polars.DataFrame
        The best layer pairs (schema `prh.alignment.comparisons.BEST`).
    facts : dict
        What the footer says of them.
    """
    samples, preparation = models.samples(), preparation_arguments(section.model_dump())
    groups = models.groups(shards, samples)

    def opened(model: StoredModel) -> comparisons.SweptModel:
        if representations.are_kernels(model.features):
            return comparisons.SweptModel(model.name, list(representations.read_kernels(model.features)), True)
        return comparisons.SweptModel(model.name, list(representations.prepared(model.features, preparation)))

    first = models.all[0]
    with Progress(f"{metric} of {first.name} over n", total=len(models.all) - 1, unit="model") as progress:
        best = comparisons.sweep_row(
            opened(first),
            models.others(samples, opened, progress),
            metric,
            section.n,
            comparisons.Settings.of(section),
            groups,
            device=device,
            memory_gb=memory_gb,
            precision=preparation.get("precision", "float32"),
        )
    return best, {"samples": tables.digest_of_samples(samples)}
