# What every rule needs: the checked experiment, the part of it that a job depends on, and the code a job runs.

import ast
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from prh.config import ConfigError, load

try:
    experiment = load(config)
except ConfigError as error:
    raise WorkflowError(f"The experiment cannot run:\n{error}") from None

# Jobs run the Python that runs snakemake, also where its environment was not activated.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])

DATASETS = {entry.name: entry for entry in experiment.datasets}
MODELS = {entry.name: entry for entry in experiment.models}
compute = experiment.compute


pathvars:
    results=experiment.results,
    logs=f"{experiment.results}/logs",
    benchmarks=f"{experiment.results}/timings",


def one_of(names):
    return "|".join(map(re.escape, sorted(names)))


wildcard_constraints:
    dataset=one_of(DATASETS),
    model=one_of(MODELS),
    metric=one_of(experiment.alignment.metrics),


def can_read(model, dataset):
    """Whether a model has something to read in a data set."""
    return {"vision": dataset.image, "language": dataset.captions}[model.modality] is not None


def models_of(dataset):
    """The names of the models that are run on a data set, in the order of the experiment."""
    return [name for name, model in MODELS.items() if can_read(model, DATASETS[dataset])]


def spec(entry, leave_out=()):
    """A part of the experiment as one canonical string: the same settings give the same string, however written."""
    return json.dumps(entry.model_dump(mode="json", exclude=set(leave_out)), sort_keys=True)


def code(*programs):
    """The programs of a rule (below workflow_scripts) and every prh module that they import, directly or not.

    They are inputs of the rule and compared by content, so that a changed module runs its stage again and nothing else.
    """
    library = Path(workflow.basedir, "workflow_scripts")
    found, todo = set(), [library / program for program in programs]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        for name in imported_modules(path):
            parts = name.split(".")
            options = [library.joinpath(*parts, "__init__.py"), library.joinpath(*parts).with_suffix(".py")]
            todo += [option for option in options if option.is_file()]
    return sorted(os.path.relpath(path) for path in found)


def imported_modules(path):
    """Names of the prh modules that a file imports; `from prh import tables` names prh and prh.tables."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "prh")
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] == "prh":
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
