"""The experiment: its lists and sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from prh.experiment.schema.alignment import Alignment
from prh.experiment.schema.base import Folder, Section
from prh.experiment.schema.compute import Compute
from prh.experiment.schema.datasets import Dataset
from prh.experiment.schema.figures import Figures
from prh.experiment.schema.models import Model
from prh.experiment.schema.probes import Probe
from prh.experiment.schema.tasks import HarnessTask
from prh.experiment.schema.texts import Text
from prh.experiment.schema.world import World


class Experiment(Section):
    """An experiment: data sets, models, and how they are compared."""

    results: Folder = "results"
    """Folder for all output. Experiments that name the same folder share their results."""
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    """The data sets. Every model that can read a data set is run on it."""
    models: Annotated[list[Model], Field(min_length=1)]
    """The models. Add new ones at the end: each is compared with those before it."""
    plugins: list[str] = []
    """Your own metrics, modalities, sources of data sets and studies: Python files (my_metric.py, relative to the
    folder where snakemake runs) and modules (package.module). They are imported, so their code runs."""
    world: World = World()
    alignment: Alignment = Alignment()
    probes: list[Probe] = []
    """Tasks for vision models (Figure 2)."""
    texts: list[Text] = []
    """Texts for language models (Figure 3)."""
    harness: list[HarnessTask] = []
    """Tasks for language models (Figure 4)."""
    figures: Figures = Figures()
    compute: Compute = Compute()

    def dataset(self, name: str) -> Dataset:
        """Return the data set entry called ``name`` (KeyError if there is none)."""
        return _named(self.datasets, name)

    def urls(self) -> list[str]:
        """Return the addresses of all data sets and models."""
        return [url for entry in (*self.datasets, *self.models) if (url := getattr(entry, "url", None)) is not None]

    def model(self, name: str) -> Model:
        """Return the model entry called ``name`` (KeyError if there is none)."""
        return _named(self.models, name)


def _named(entries: list, name: str) -> Any:
    for entry in entries:
        if entry.name == name:
            return entry
    raise KeyError(name)
