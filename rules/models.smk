# Stage 2: the weights of the models, fetched or, in the idealised world, trained. Every later job runs with the hub offline.


rule download_model:
    input:
        source=local_weights,
    output:
        local("<results>/models/{model}/weights.json"),
    log:
        "<logs>/download_model/{model}.log",
    benchmark:
        "<timings>/download_model/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.by_source("hub", "local", "url", "random")),
    localrule: True
    conda:
        "../envs/prh.yaml"
    params:
        program=program("download_model.py"),
        spec=spec("download_model", "model"),
        lock=untracked(lock),
    shell:
        "python {params.program:q} --spec {params.spec:q} --lock {params.lock:q} --output {output:q} > {log:q} 2>&1"


rule train_model:
    output:
        local("<results>/models/{model}/weights.json"),
    log:
        "<logs>/train_model/{model}.log",
    benchmark:
        "<timings>/train_model/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.by_source("world")),
    # When nothing else can start (below 0), and most steps first: a long one that is left to the end keeps other cores
    # waiting. Tiny, as Snakemake's ilp scheduler sets priorities off against cores that are busy.
    priority: lambda wildcards: -1e-6 / plan.models[wildcards.model].training.steps
    conda:
        "../envs/prh.yaml"
    params:
        program=program("train_model.py"),
        spec=spec("train_model", "model"),
    shell:
        "python {params.program:q} --spec {params.spec:q} --output {output:q} > {log:q} 2>&1"
