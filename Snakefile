# The Platonic Representation Hypothesis, measured. The includes below are the stages, in the order in which data flow.

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from prh.registries import ConfigError, read

min_version("9.27")

# Before Snakemake reads config.yaml, and after it has read what is given with --configfile: it would take the last of two
# equal keys, and run the Python of a file that asks for that.
for configuration in workflow.overwrite_configfiles or ["config.yaml"]:
    try:
        read(configuration)
    except ConfigError as error:
        raise WorkflowError(f"The experiment cannot run:\n{error}") from None

# An experiment given with --configfile is complete: config.yaml, the default experiment, does not leak into it.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/forkserver.smk"
include: "rules/datasets.smk"
include: "rules/models.smk"
include: "rules/features.smk"
include: "rules/alignment.smk"
include: "rules/benchmarks.smk"
include: "rules/figures.smk"


onstart:
    hold_results()
    adopt_lock()
    start_forkserver()
    lift_rate_limit()


onsuccess:
    collect_timings()


onerror:
    collect_timings()


rule all:
    default_target: True
    input:
        "<results>/tables/alignment.parquet",
        [f"<results>/figures/{figure}" for figure in plan.figures()],
    localrule: True
