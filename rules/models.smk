# Stage 2: the weights of the models, downloaded or, in the idealised world, trained. Later jobs run with the hub offline.


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
        model=one_of(plan.fetched_models()),
    localrule: True
    conda:
        "../envs/prh.yaml"
    params:
        program=program("download_model.py"),
        spec=spec("download_model", "model"),
        lock=untracked(lock),
    shell:
        "python {params.program:q} --spec {params.spec:q} --lock {params.lock:q} --output {output:q} > {log:q} 2>&1"


rule note_given:
    input:
        source=given_files,
    output:
        local("<results>/models/{model}/given/{dataset}.json"),
    log:
        "<logs>/note_given/{dataset}/{model}.log",
    benchmark:
        "<timings>/note_given/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.in_files()),
    localrule: True
    conda:
        "../envs/prh.yaml"
    params:
        program=program("download_model.py"),
        spec=spec("note_given", "dataset", "model"),
    shell:
        "python {params.program:q} --spec {params.spec:q} --dataset {wildcards.dataset:q} --output {output:q} > {log:q} 2>&1"


rule train_model:
    input:
        run=run_of_checkpoint,  # its training keeps the weights of its checkpoints, if they are in the experiment
    output:
        local("<results>/models/{model}/weights.json"),
    log:
        "<logs>/train_model/{model}.log",
    benchmark:
        "<timings>/train_model/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.trained_models()),
    # Start only when nothing else can (below 0), most steps first, so that no long training is left to run alone at the
    # end. The values are tiny because Snakemake's ilp scheduler weighs priorities against busy cores.
    priority: lambda wildcards: -1e-6 / plan.training_steps(wildcards.model)
    conda:
        "../envs/prh.yaml"
    params:
        program=program("train_model.py"),
        spec=spec("train_model", "model"),
        # with or without it, the weights are the same
        lists=lists(
            keep=lambda wildcards: plan.kept_steps(wildcards.model),
            run=lambda wildcards: (
                f"{experiment.results}/models/{run_of(wildcards.model)}" if is_checkpoint(wildcards.model) else []
            ),
        ),
    shell:
        "python {params.program:q} --spec {params.spec:q} --output {output:q} {params.lists} > {log:q} 2>&1"
