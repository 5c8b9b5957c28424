# The checked experiment, and what each job depends on. See prh/experiment/loading.py, plan.py and job_specs.py.

import functools
import gc
import itertools
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

import forklaunch

from prh.io import files
from prh.io.names import is_checkpoint, run_of
from prh.experiment import plugins
from prh.jobs import runs
from prh.jobs.devices import visible_gpus
from prh.experiment.loading import ConfigError, load
from prh.experiment.job_specs import JobSpecs
from prh.datasets.local_forms import METADATA
from prh.downloads.sources import source_of
from prh.downloads.lockfile import adopt, lock_path
from prh.experiment.plan import Plan
from prh.experiment.registries import expand
from prh.experiment.row_partners import RowPartners
from prh.experiment.specs import Spec

# Snakemake keeps every object of its thousands of jobs: searching them for garbage takes a sixth of the planning time.
gc.set_threshold(100_000)

try:
    experiment = load(expand(config, ".", WORKFLOW))
except ConfigError as error:
    raise WorkflowError(f"The experiment cannot run:\n{error}") from None

plan = Plan(experiment)
specs = JobSpecs(plan, WORKFLOW / "resources/published_scores.csv")
compute = experiment.compute

# The lock file, beside the experiment file, records the exact source of every download. Its path is untracked, since it
# changes no result.
lock = str(lock_path(workflow.overwrite_configfiles[0] if workflow.overwrite_configfiles else "config.yaml"))

# Jobs use the Python that runs snakemake, even if its environment was not activated.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
os.environ.update(runs.environment(experiment.urls()))
os.environ.update(plugins.environment(experiment.plugins))


pathvars:
    results=experiment.results,
    logs=f"{experiment.results}/logs",
    timings=f"{experiment.results}/timings",


def one_of(names):
    """A regular expression that matches exactly these names (without names: nothing)."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


wildcard_constraints:
    dataset=one_of(plan.datasets),
    model=one_of(plan.models),
    metric=one_of(experiment.alignment.metrics),
    measure=one_of(plan.measures),
    text=one_of(plan.texts),
    task=one_of(plan.harness),


@functools.cache
def spec_of(stage, *names):
    """What a job depends on besides its inputs: its settings and its code. See prh/experiment/job_specs.py."""
    return getattr(specs, stage)(*names)


row_partners = RowPartners(plan, spec_of, in_job=not workflow.is_main_process)


def spec(stage, *wildcards_of_spec):
    """The parameter `spec` of a rule, as a function of some of its wildcards."""

    def text(wildcards):
        return str(spec_of(stage, *(getattr(wildcards, name) for name in wildcards_of_spec)))

    return text


def untracked(value):
    """A parameter that changes no result, so changing it reruns nothing: Snakemake does not compare parameters that are
    functions of the input with those of an earlier run.
    """
    return lambda wildcards, input: value(wildcards) if callable(value) else value


def program(name):
    """The path of a program, for the shell. It is not an input, because its code is already part of the spec."""
    path = PROGRAMS / name
    return untracked(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))


class FromFile(str):
    """``--arguments FILE`` in a command. FILE is written when the command is formatted, that is when its job starts."""

    def __new__(cls, path, words):
        text = super().__new__(cls, f"--arguments {shlex.quote(str(path))}")
        text.path, text.words = path, words
        return text

    def __format__(self, how):
        files.write_json(self.path, self.words())
        return str(self)


LONGEST_COMMAND = 100_000
"""Longest list of arguments, in bytes, that stays in a job's command: Linux limits one argument to 128 KiB."""


def lists(**options):
    """The parameter `lists` of a rule: options with a value per model, and the spec, which can be as long.

    Each of ``options`` is a function of the wildcards, or the name of an input. If the command would become too long,
    they are passed in a file. Snakemake does not compare this text, since it is a function of the input; the inputs and
    the spec cover it.
    """

    def words(wildcards, input):
        for name, values in options.items():
            values = values(wildcards) if callable(values) else input.get(values, [])
            values = [values] if isinstance(values, str) else list(values)
            if values:
                yield from (f"--{name.replace('_', '-')}", *map(str, values))

    def text(wildcards, input, output):
        command = shlex.join(words(wildcards, input))
        if len(os.fsencode(command)) <= LONGEST_COMMAND:
            return command
        name = Spec({"output": list(output)}).digest
        return FromFile(Path(".snakemake/prh", f"{name}.json"), lambda: list(words(wildcards, input)))

    return text


def digest(stage, *wildcards_of_spec):
    """The digest of the settings with which a stage makes its tables; a job refuses to read a table with another."""

    def text(wildcards):
        return spec_of(stage, *(getattr(wildcards, name) for name in wildcards_of_spec)).digest

    return text


def removed_of(stage):
    """The models of a row that are no longer in the experiment: see prh/experiment/row_partners.py."""
    return lambda wildcards: row_partners.removed(stage, wildcards.dataset, wildcards.metric, wildcards.model)


def models_of_row(stage, wildcards):
    """The models of a row, its own first: see prh/experiment/row_partners.py."""
    others = row_partners.of_row(stage, wildcards.dataset, wildcards.metric, wildcards.model)
    return [wildcards.model, *others]


def row_models(stage):
    """The same as a function of the wildcards."""
    return lambda wildcards: models_of_row(stage, wildcards)


def row_digests(stage, kind):
    """The digests of the settings of the tables of a kind (features or neighbours) that a row reads, if any."""

    def texts(wildcards):
        if kind not in row_partners.kinds(stage, wildcards.metric):
            return []
        return [row_partners.digest(kind, wildcards.dataset, name) for name in models_of_row(stage, wildcards)]

    return texts


def local_source(wildcards):
    """What changes when a local data set changes: its metadata, or the folder or file itself."""
    entry = plan.datasets[wildcards.dataset]
    here = source_of("datasets", entry).lies_here(entry)
    if here is None:
        return []
    metadata = (Path(here, name) for name in METADATA)
    return local(str(next((path for path in metadata if path.is_file()), here)))


def local_weights(wildcards):
    """The files of a local model, so that one younger than its record is checked again; also when a file goes missing
    from the folder.
    """
    entry = plan.models[wildcards.model]
    here = source_of("models", entry).lies_here(entry)
    if here is None:
        return []
    return files_in(here)


def files_in(path):
    """A file, or the files of a folder."""
    root = Path(path)
    return [local(str(root / name if root.is_dir() else root)) for name in files.sizes(root)]


def given_files(wildcards):
    """The files of a given representation, so that one younger than its record is hashed again."""
    return files_in(plan.models[wildcards.model].files[wildcards.dataset])


def given_note(wildcards):
    """What is known of the files of a given representation; nothing for the kernel of the world."""
    if wildcards.model not in plan.in_files():
        return []
    return local("<results>/models/{model}/given/{dataset}.json")


def weights_of(wildcards):
    """The record of a model's weights; nothing for a model without any."""
    return local("<results>/models/{model}/weights.json") if plan.has_weights(wildcards.model) else []


def run_of_checkpoint(wildcards):
    """The weights of the model that a checkpoint of the world's trainings is on the way to: they are made first."""
    run = run_of(wildcards.model)
    return ancient(local(f"<results>/models/{run}/weights.json")) if is_checkpoint(wildcards.model) else []


def local_text(wildcards):
    """The file or folder of a local text."""
    entry = plan.texts[wildcards.text]
    return local(source_of("texts", entry).lies_here(entry) or [])


def local_task(wildcards):
    """The files of a local task of lm-eval."""
    entry = plan.harness[wildcards.task]
    folder = source_of("harness", entry).lies_here(entry)
    return [local(str(path)) for path in sorted(Path(folder).glob("*.*"))] if folder else []


def row_tables(stage, kind):
    """The tables of a kind (features or neighbours) that a row of the alignment matrix reads, if any.

    Those of models that are no longer in the experiment are taken as they are: no job makes them.
    """

    def paths(wildcards):
        if kind not in row_partners.kinds(stage, wildcards.metric):
            return []
        removed = removed_of(stage)(wildcards)
        tables = {
            name: f"<results>/{kind}/{wildcards.dataset}/{name}.parquet" for name in models_of_row(stage, wildcards)
        }
        return [before_update(path) if name in removed else path for name, path in tables.items()]

    return paths


# Neighbours are searched on a GPU only if the experiment says so: most searches finish on a CPU before a GPU is free.
search_device = "cuda" if compute.device == "cuda" else "cpu"


def row_device(wildcards):
    """The device that compares the models of a row: a metric that reads only neighbours has no use for a GPU."""
    return search_device if plan.row_needs(wildcards.metric, "features") else "cpu"


def comparing_memory(copies):
    """Memory, in MB, of a job that reads features or neighbours: libraries, compute.memory_gb, and ``copies`` times the
    largest table (tables unpack to twice their size, and preparing them takes copies). It grows with every attempt.
    """

    def mem_mb(wildcards, input, attempt):
        return math.ceil((3000 + 1000 * compute.memory_gb + copies * max(input.size_files_mb)) * attempt)

    return mem_mb


def groups_of(wildcards):
    """The shards that hold the groups of the samples, if they have groups."""
    return f"{experiment.results}/datasets/{wildcards.dataset}/shards" if plan.datasets[wildcards.dataset].group else []


def rows_of(dataset, metric, ending="parquet"):
    """The rows of all models for one metric: the scores of all layer pairs, or the tables with another ending."""
    return [f"<results>/alignment/{dataset}/{metric}/{model}.{ending}" for model in plan.models_of(dataset)]


def reads_of(path):
    """Yield (argument, stage, names, path) for each table that a study reads: which job makes it, and where."""
    study, target = plan.targets[path]
    dataset, metric, k = (target.rows.get(key) for key in ("dataset", "metric", "k"))
    for name in study.reads:
        match name:
            case "best":
                yield name, "best_layers", (), "<results>/tables/alignment.parquet"
            case "models":
                yield name, "best_layers", (), "<results>/tables/models.parquet"
            case "scores":
                yield name, "scores", (), "<results>/tables/scores.parquet"
            case "sweep":
                measure = plan.measure(metric, k)
                yield name, "best_layers", (), f"<results>/tables/{dataset}/{measure}/n_sweep.parquet"
            case "rows":
                for path in rows_of(dataset, metric):
                    yield name, "alignment", (dataset, metric), path


def draws_of(path):
    """The same for each table that a figure is drawn from: those its study makes, or else those its study reads."""
    study, _ = plan.targets[path]
    if study.table is None:
        yield from reads_of(path)
        return
    yield "table", "study", (path,), f"<results>/tables/{path}.parquet"
    if study.has_statistics:
        yield "statistics", "study", (path,), f"<results>/tables/{path}_statistics.parquet"


def tables_from(of, wildcard):
    """The lists of arguments for the tables that ``of`` yields for the study that a wildcard names."""
    return lists(
        reads=lambda wildcards: [name for name, *_ in of(getattr(wildcards, wildcard))],
        tables="tables",
        tables_specs=lambda wildcards: [
            spec_of(stage, *names).digest for _, stage, names, _ in of(getattr(wildcards, wildcard))
        ],
    )


def named_outputs(wildcards, input, output):
    """The outputs of a job as command-line options, one per named output."""
    return shlex.join(word for name, path in output.items() for word in (f"--{name}", path))


def with_tables(has_statistics):
    """The paths of studies with a table of their own, with or without statistics."""
    return [path for path, (study, _) in plan.targets.items() if study.table and study.has_statistics is has_statistics]


def hold_results():
    """Keep other runs out of the results until this one ends."""
    global held_results
    try:
        held_results = runs.hold(experiment.results)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from None


def record_rows():
    """Write down which models each row is made of, for jobs that another process runs."""
    try:
        row_partners.record()
    except OSError as error:
        raise WorkflowError(str(error)) from None


def adopt_lock():
    """Lock what another experiment has fetched into the same results; warn where it fetched another version."""
    try:
        for sentence in adopt(Path(lock), plan.fetched()):
            logger.warning(sentence)
    except (ValueError, OSError) as error:
        raise WorkflowError(f"The lock file cannot be kept: {error}") from None


GPU_PROGRAMS = {"features.py", "bits_per_byte.py", "harness.py"} | (
    {"neighbours.py", "alignment.py", "n_sweep.py"} if search_device == "cuda" else set()
)


def launch_forkserver():
    """Start jobs on this machine as forks (forkserver/README.md), if they run with the Python that runs snakemake."""
    global forkserver
    if (
        not compute.forkserver
        or sys.platform != "linux"
        or not workflow.local_exec
        or workflow.deployment_settings.deployment_method
    ):
        return
    gpus = compute.device != "cpu" and visible_gpus()  # a fork cannot use one
    try:
        forkserver = forklaunch.launch(PROGRAMS, GPU_PROGRAMS if gpus else ())
    except OSError as error:
        logger.warning(f"Jobs start as new processes, because the fork server did not start: {error}")
        return
    os.environ.update(forkserver.environment)
    shell.executable(forklaunch.SHELL)


def collect_timings():
    """Collect time and memory of all jobs at the end of a run, whether it succeeded or not."""
    folders = {name: f"{experiment.results}/{name}" for name in ("timings", "logs", "tables")}
    if not Path(folders["timings"]).is_dir():  # results are in a bucket
        return
    collect = [sys.executable, str(PROGRAMS / "timings.py"), "--timings", folders["timings"]]
    subprocess.run([*collect, "--logs", folders["logs"], "--output", f"{folders['tables']}/timings.parquet"])
