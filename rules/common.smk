# The checked experiment, and what of it and of the code each job depends on. See prh/config.py and prh/plan.py.

import functools
import gc
import hashlib
import json
import math
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from prh import files, runs
from prh.config import ConfigError, load
from prh.lockfile import adopt, lock_path
from prh.plan import Plan, modules_of
from prh.registries import expand

# Snakemake keeps every object of its thousands of jobs: looking for garbage among them is a sixth of the time of a plan.
gc.set_threshold(100_000)

try:
    experiment = load(expand(config))
except ConfigError as error:
    raise WorkflowError(f"The experiment cannot run:\n{error}") from None

plan = Plan(experiment)
compute = experiment.compute

# Beside the experiment file: the exact sources of what was downloaded. A resource of the rules, not a parameter:
# where the lock lies changes nothing that is made.
lock = str(lock_path(workflow.overwrite_configfiles[0] if workflow.overwrite_configfiles else "config.yaml"))

# Jobs run the Python that runs snakemake, also where its environment was not activated.
os.environ.update(PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
os.environ.update(runs.environment(experiment.urls()))


pathvars:
    results=experiment.results,
    logs=f"{experiment.results}/logs",
    benchmarks=f"{experiment.results}/timings",


def one_of(names):
    """A regular expression for one of some names (for none, one that nothing matches)."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


wildcard_constraints:
    dataset=one_of(plan.datasets),
    model=one_of(plan.models),
    metric=one_of(experiment.alignment.metrics),
    measure=one_of(plan.measures),
    pair=one_of(plan.layer_pairs),
    text=one_of(plan.texts),
    task=one_of(plan.harness),
    kind="(_calibrated)?",


def code(*programs):
    """The prh modules that programs (below workflow_scripts) import, directly or not.

    As inputs they are compared by content: a changed module runs its stage again and nothing else.
    """
    library = Path(workflow.basedir, "workflow_scripts")
    return [local(os.path.relpath(path)) for path in modules_of([library / program for program in programs], library)]


def local_source(wildcards):
    """What changes when a local data set changes: its metadata, or the folder or file itself."""
    entry = plan.datasets[wildcards.dataset]
    if entry.source != "local":
        return []
    metadata = Path(entry.path, "metadata.jsonl")
    return local(str(metadata if metadata.is_file() else entry.path))


@functools.cache
def _sizes_digest(path):
    return hashlib.sha256(json.dumps(files.sizes(Path(path))).encode()).hexdigest()


def local_sizes(wildcards):
    """What changes when a file of a local data set is added, removed or replaced by one of another size; nothing else,
    so that a touch or a fresh copy runs nothing. Looking into 100,000 photographs at every start would take minutes.
    """
    entry = plan.datasets[wildcards.dataset]
    return _sizes_digest(entry.path) if entry.source == "local" else ""


def local_weights(wildcards):
    """The files of a local model: one that is younger than what was noted of it is looked at again. Its folder too, of
    which a file may be missing.
    """
    entry = plan.models[wildcards.model]
    if not getattr(entry, "path", None):
        return []
    root = Path(entry.path)
    return [local(str(root / name if root.is_dir() else root)) for name in files.sizes(root)]


def local_weights_sizes(wildcards):
    """As local_sizes, of a local model."""
    path = getattr(plan.models[wildcards.model], "path", None)
    return _sizes_digest(path) if path else ""


def local_task(wildcards):
    """The files of a local task of lm-eval."""
    folder = plan.harness[wildcards.task].path
    return [local(str(path)) for path in sorted(Path(folder).glob("*.*"))] if folder else []


def row_tables(kind):
    """The tables of a kind, features or neighbours, that a row of the alignment matrix reads; none if it needs none."""

    def paths(wildcards):
        if not plan.row_needs(wildcards.metric, kind):
            return []
        return [
            f"<results>/{kind}/{wildcards.dataset}/{name}.parquet"
            for name in plan.row(wildcards.dataset, wildcards.model)
        ]

    return paths


# Where neighbours are searched: on a GPU only if the experiment says so, as most are fast without, and would wait for one.
search_device = "cuda" if compute.device == "cuda" else "cpu"


def row_device(wildcards):
    """Where the models of a row are compared: a metric that reads neighbours alone has no use for a GPU."""
    return search_device if plan.row_needs(wildcards.metric, "features") else "cpu"


def comparing_memory(copies):
    """MB of a job that reads features or neighbours: libraries, what compute.memory_gb allows, and so many times the
    largest table (they unpack to twice their size, and preparing them takes copies); more with every attempt.
    """

    def mem_mb(wildcards, input, attempt):
        return math.ceil((3000 + 1000 * compute.memory_gb + copies * max(input.size_files_mb)) * attempt)

    return mem_mb


def groups_option(wildcards, input):
    """Where the groups of the samples stand, if they have some."""
    return option("--groups-from", plan.datasets[wildcards.dataset].group and input.shards)


def rows_of(wildcards, ending="parquet"):
    """The rows of all models by one metric: the scores of all layer pairs, or other tables by their ending."""
    metric = plan.measures[wildcards.measure]["metric"]
    models = plan.models_of(wildcards.dataset)
    return [f"<results>/alignment/{wildcards.dataset}/{metric}/{model}.{ending}" for model in models]


def option(flag, values):
    """A command-line option with its values, or nothing where there are none."""
    return f"{flag} {values}" if values else ""


def hold_results():
    """Keep other runs out of the results until this one ends."""
    global held_results
    try:
        held_results = runs.hold(experiment.results)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from None


def adopt_lock():
    """Lock what another experiment has fetched into the same results; say where it holds another version."""
    try:
        for sentence in adopt(Path(lock), plan.fetched()):
            logger.warning(sentence)
    except (ValueError, OSError) as error:
        raise WorkflowError(f"The lock file cannot be kept: {error}") from None


def lift_rate_limit():
    """Start jobs of this machine whenever a core is free, without Snakemake's limit of 100 a second.

    It is meant for the queues of clusters, and has a price: after each job snakemake looks again, once a second until
    no job waits, whether it may start more (54 threads did after 113 jobs), and its end waits a second for the last.
    Another limit was given by the user, and stands.
    """
    limiter = workflow.scheduler.job_rate_limiter
    if workflow.local_exec and limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def collect_timings():
    """Collect time and memory of the jobs, at the end of a run, whatever became of it."""
    if Path(experiment.results, "timings").is_dir():  # not where results are in a bucket
        shell(
            f"python {workflow.basedir}/workflow_scripts/timings.py --benchmarks {experiment.results}/timings"
            f" --logs {experiment.results}/logs --output {experiment.results}/tables/timings.parquet"
            " || true"  # a full disk is told already
        )
