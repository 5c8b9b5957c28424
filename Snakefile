# Measures the Platonic Representation Hypothesis. The includes below are the stages, in the order in which data flow.

from snakemake.utils import min_version

min_version("9.27")


include: "rules/library.smk"


# An experiment given with --configfile is complete, so nothing of config.yaml, the default experiment, may leak into it.
# The default is the config.yaml of the folder where snakemake runs or, if it has none, of the workflow.
if not workflow.overwrite_configfiles:

    configfile: default_experiment


include: "rules/common.smk"
include: "rules/datasets.smk"
include: "rules/models.smk"
include: "rules/features.smk"
include: "rules/alignment.smk"
include: "rules/competence.smk"
include: "rules/studies.smk"


onstart:
    hold_results()
    record_rows()
    adopt_lock()
    launch_forkserver()


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
