"""Which models each row of the alignment matrix is made of: as many rows as possible stay as they are.

Snakemake makes a job again if its set of inputs has changed. So a row that was made by the settings and the code of
today keeps its models among its inputs, even those that are no longer in the experiment. A model that is inserted takes
its pairs with the rows that lack it into its own row (prh/experiment/pairs.py), and readers pick the pairs that they
need (prh/alignment/rows.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from prh.experiment.pairs import partners
from prh.experiment.plan import Plan
from prh.experiment.specs import Spec
from prh.io import files

ENDINGS = {"alignment": ".best.parquet", "n_sweep": ".sweep.parquet"}
"""How the table of a row ends whose footer names its models, by the stage that makes it."""
RECORD = ".rows.json"
"""File in the results folder: what the last run has decided, for its jobs and to spare the next start a look at rows.

An entry per stage, data set and metric has the digest of what was decided on (``of``), and the other models of each row
that is not simply the row of its model with those before it (``rows``).
"""


class RowPartners:
    """The models of each row, from the experiment and from the rows that earlier runs have left.

    Files are looked at once, so that the answers are the same as long as a process lives.

    Parameters
    ----------
    plan : Plan
        The jobs of the experiment.
    spec_of : callable
        The spec of a job from its stage and names, as the methods of `prh.experiment.job_specs.JobSpecs`.
    in_job : bool
        Whether this process runs a job of a run that another process has started. It then takes what that has decided
        from `RECORD`: rows come and go during a run, so it might come to another decision itself.
    """

    def __init__(self, plan: Plan, spec_of: Callable[..., Spec], *, in_job: bool = False) -> None:
        self._plan, self._spec_of, self._in_job = plan, spec_of, in_job
        self._results = Path(plan.experiment.results)
        self._models = {dataset: frozenset(plan.all_of(dataset)) for dataset in plan.datasets}
        self._recorded = _recorded(self._results / RECORD)
        self._decision, self._key, self._footer = cache(self._decide), cache(self._key_of), cache(_footer)
        self._is_usable = cache(self._is_as_wanted)

    def of_row(self, stage: str, dataset: str, metric: str, model: str) -> tuple[str, ...]:
        """The other models of the row of ``model``."""
        decided = self._decision(stage, dataset, metric).get(model)
        return tuple(self._plan.row(dataset, model)[1:]) if decided is None else decided

    def removed(self, stage: str, dataset: str, metric: str, model: str) -> list[str]:
        """Those of them that are no longer in the experiment."""
        decided = self._decision(stage, dataset, metric).get(model, ())
        return [name for name in decided if not self.is_wanted(dataset, name)]

    def is_wanted(self, dataset: str, model: str) -> bool:
        """Whether the experiment runs a model on a data set."""
        return model in self._models[dataset]

    def kinds(self, stage: str, metric: str) -> list[str]:
        """The kinds of tables that a row reads, of features and neighbours."""
        if stage == "n_sweep":
            return ["features"]
        return [kind for kind in ("features", "neighbours") if self._plan.row_needs(metric, kind)]

    def digest(self, kind: str, dataset: str, model: str) -> str:
        """The digest of the settings that a table of a model is made by."""
        if self.is_wanted(dataset, model):
            return self._spec_of_table(kind, dataset, model).digest
        return self._footer(self._table(kind, dataset, model))["spec"]

    def record(self) -> None:
        """Write down what is decided. To be called before the first job of a run."""
        stages = [("alignment", metric) for metric in self._plan.experiment.alignment.metrics]
        swept = {str(measure["metric"]) for name, measure in self._plan.measures.items() if self._plan.is_swept(name)}
        stages += [("n_sweep", metric) for metric in sorted(swept)]
        entries = {
            "/".join((stage, dataset, metric)): {
                "of": self._key(stage, dataset, metric),
                "rows": self._decision(stage, dataset, metric),
            }
            for dataset in dict.fromkeys(dataset for dataset, _ in self._plan.comparisons())
            for stage, metric in stages
        }
        files.write_json(self._results / RECORD, self._recorded | entries)

    def _decide(self, stage: str, dataset: str, metric: str) -> dict[str, tuple[str, ...]]:
        """The other models of each row for which they are not those before it."""
        recorded = self._recorded.get("/".join((stage, dataset, metric)), {})
        if recorded.get("of") == self._key(stage, dataset, metric) and (self._in_job or not recorded["rows"]):
            return {model: tuple(others) for model, others in recorded["rows"].items()}
        models = self._plan.all_of(dataset)
        rows = {model: self._held(stage, dataset, metric, model) for model in models}
        held = {model: others for model, others in rows.items() if others is not None}
        wanted = {model: frozenset(self._plan.row(dataset, model)) for model in models}
        decided = partners(models, held, lambda earlier, later: earlier in wanted[later])
        return {model: others for model, others in decided.items() if {model, *others} != wanted[model]}

    def _key_of(self, stage: str, dataset: str, metric: str) -> str:
        """The digest of the models of a data set, in order, and of what their rows depend on."""
        models, kinds = self._plan.all_of(dataset), self.kinds(stage, metric)
        tables = [(kind, model, self._spec_of_table(kind, dataset, model)) for kind in kinds for model in models]
        row = self._spec_of(stage, dataset, metric)
        settings = {"tables": [(kind, model, spec.digest, spec.code) for kind, model, spec in tables]}
        return Spec({**settings, "models": models, "row": [row.digest, row.code]}).digest

    def _held(self, stage: str, dataset: str, metric: str, model: str) -> tuple[str, ...] | None:
        """The other models of the row of ``model`` that is there.

        None unless it was made by the settings and the code of today from tables of which the same holds, or which are
        of removed models.
        """
        footer = self._footer(self._results / f"alignment/{dataset}/{metric}/{model}{ENDINGS[stage]}")
        if not _is_of(footer, self._spec_of(stage, dataset, metric)):
            return None
        models = footer.get("models")
        if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
            return None
        if models[:1] != [model] or len(set(models)) < len(models):
            return None
        usable = all(self._is_usable(kind, dataset, name) for kind in self.kinds(stage, metric) for name in models)
        return tuple(models[1:]) if usable else None

    def _is_as_wanted(self, kind: str, dataset: str, model: str) -> bool:
        """Whether a table is there and by the settings and the code of today; of a removed model, whether it is its."""
        footer = self._footer(self._table(kind, dataset, model))
        if self.is_wanted(dataset, model):
            return _is_of(footer, self._spec_of_table(kind, dataset, model))
        return (footer.get("model"), footer.get("dataset")) == (model, dataset) and isinstance(footer.get("spec"), str)

    def _spec_of_table(self, kind: str, dataset: str, model: str) -> Spec:
        return self._spec_of(kind, dataset, model) if kind == "features" else self._spec_of(kind)

    def _table(self, kind: str, dataset: str, model: str) -> Path:
        return self._results / kind / dataset / f"{model}.parquet"


def _is_of(footer: dict[str, Any], spec: Spec) -> bool:
    return (footer.get("spec"), footer.get("code")) == (spec.digest, spec.code)


def _recorded(path: Path) -> dict[str, Any]:
    """The content of `RECORD`; nothing where it is not there or damaged: the rows then say it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {"of": str(entry["of"]), "rows": {model: [*map(str, row)] for model, row in entry["rows"].items()}}
            for name, entry in content.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _footer(path: Path) -> dict[str, Any]:
    """What made a table; nothing where it is not there or damaged, which the job says that reads it."""
    if not path.is_file():
        return {}
    from prh.io import tables  # loads pyarrow, which a start of snakemake without results does without

    try:
        return tables.made_by(path)
    except tables.TableError:
        return {}
