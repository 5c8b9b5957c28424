"""Rows of the alignment matrix that outlive a model: which removed models an existing row still holds.

A row reads the tables of its model and of all models before it, and Snakemake makes a job again whose set of inputs has
changed. So a row keeps the tables of removed models among its inputs, as long as nothing else about it changes, and its
readers leave those pairs out (prh/alignment/rows.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from prh.experiment.plan import Plan
from prh.experiment.specs import Spec

ENDINGS = {"alignment": ".best.parquet", "n_sweep": ".sweep.parquet"}
"""How the table of a row ends whose footer names its models, by the stage that makes it."""


class RemovedModels:
    """What the tables of earlier runs hold of models that a data set is not asked for any more.

    Files are looked at once, so that the answers are the same as long as a process lives.

    Parameters
    ----------
    plan : Plan
        The jobs of the experiment.
    spec_of : callable
        The spec of a job from its stage and names, as the methods of `prh.experiment.job_specs.JobSpecs`.
    """

    def __init__(self, plan: Plan, spec_of: Callable[..., Spec]) -> None:
        self._plan, self._spec_of, self._results = plan, spec_of, Path(plan.experiment.results)
        self.of_row, self._names, self._footer = cache(self._of_row), cache(self._names_of), cache(_footer)

    def kinds(self, stage: str, metric: str) -> list[str]:
        """The kinds of tables that a row reads, of features and neighbours."""
        if stage == "n_sweep":
            return ["features"]
        return [kind for kind in ("features", "neighbours") if self._plan.row_needs(metric, kind)]

    def digest(self, kind: str, dataset: str, model: str) -> str:
        """The digest of the settings that a table of a removed model was made by."""
        return self._footer(self._table(kind, dataset, model))["spec"]

    def _of_row(self, stage: str, dataset: str, metric: str, model: str) -> tuple[str, ...]:
        """The removed models of the row of ``model``.

        None unless the row lies there, was made by the settings and the code of today from tables of which the same
        holds, and lacks no model: else it is made again, and without them.
        """
        kinds, wanted = self.kinds(stage, metric), self._plan.row(dataset, model)
        if not self._names(kinds[0], dataset):
            return ()
        footer = self._footer(self._results / f"alignment/{dataset}/{metric}/{model}{ENDINGS[stage]}")
        models = footer.get("models")
        if not isinstance(models, list) or not _is_of(footer, self._spec_of(stage, dataset, metric)):
            return ()
        removed = tuple(name for name in models if name not in wanted)
        if not removed or set(models) != {*wanted, *removed} or not self._names(kinds[0], dataset).issuperset(removed):
            return ()
        for kind in kinds:
            if not all(self._is_as_wanted(kind, dataset, name) for name in wanted):
                return ()
            if not all(self._is_of_model(kind, dataset, name) for name in removed):
                return ()
        return removed

    def _names_of(self, kind: str, dataset: str) -> frozenset[str]:
        """The models with a table of a kind that the data set is not asked for any more."""
        folder = self._results / kind / dataset
        try:
            names = {path.stem for path in folder.iterdir() if path.suffix == ".parquet"}
        except OSError:  # nothing is made yet, or the results lie in a bucket
            names = set()
        return frozenset(names.difference(self._plan.models_of(dataset), self._plan.checkpoints_of(dataset)))

    def _is_as_wanted(self, kind: str, dataset: str, model: str) -> bool:
        """Whether the table of a model of the experiment is by the settings and the code of today."""
        spec = self._spec_of(kind, dataset, model) if kind == "features" else self._spec_of(kind)
        return _is_of(self._footer(self._table(kind, dataset, model)), spec)

    def _is_of_model(self, kind: str, dataset: str, model: str) -> bool:
        footer = self._footer(self._table(kind, dataset, model))
        return (footer.get("model"), footer.get("dataset")) == (model, dataset) and isinstance(footer.get("spec"), str)

    def _table(self, kind: str, dataset: str, model: str) -> Path:
        return self._results / kind / dataset / f"{model}.parquet"


def _is_of(footer: dict[str, Any], spec: Spec) -> bool:
    return (footer.get("spec"), footer.get("code")) == (spec.digest, spec.code)


def _footer(path: Path) -> dict[str, Any]:
    """What made a table; nothing where it is not there or damaged, which the job says that reads it."""
    from prh.io import tables  # loads pyarrow, which a start of snakemake does without

    try:
        return tables.made_by(path)
    except tables.TableError:
        return {}
