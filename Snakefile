# The Platonic Representation Hypothesis, measured. The includes below are the stages, in the order in which data flow.

from snakemake.utils import min_version

min_version("9.27")

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
