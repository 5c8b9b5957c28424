# Stage 3: every layer of every model for every sample. One job per (data set, model); it holds GPUs where there are some.


rule features:
    input:
        script=local("workflow_scripts/features.py"),
        code=code("features.py"),
        manifest=local("<results>/datasets/{dataset}/manifest.json"),
        # made again with the same content, the manifest is unchanged; so the folder's own age means nothing
        shards=ancient(local("<results>/datasets/{dataset}/shards")),
        weights=local("<results>/models/{model}/weights.json"),
    output:
        "<results>/features/{dataset}/{model}.parquet",
    log:
        "<logs>/features/{dataset}/{model}.log",
    benchmark:
        "<benchmarks>/features/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.by_source("hub", "local", "url", "random", "world")),
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        # not params: how a feature is computed does not change it, so a change here runs nothing again
        gpu=lambda wildcards: plan.gpus(wildcards.model),
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        device=compute.device,
        batch_size=str(compute.batch_size),
    params:
        spec=lambda wildcards: plan.features_spec(wildcards.model),
        layers=lambda wildcards: option("--layers", " ".join(map(str, plan.probed_layers(wildcards.dataset)))),
    shell:
        "python {input.script} --spec {params.spec:q} --manifest {input.manifest} --shards {input.shards}"
        " --weights {input.weights} {params.layers} --output {output} --threads {threads}"
        " --device {resources.device} --gpus {resources.gpu} --batch-size {resources.batch_size} > {log} 2>&1"


rule reality:
    input:
        script=local("workflow_scripts/reality.py"),
        code=code("reality.py"),
        manifest=local("<results>/datasets/{dataset}/manifest.json"),
        shards=ancient(local("<results>/datasets/{dataset}/shards")),
    output:
        "<results>/features/{dataset}/{model}.parquet",
    log:
        "<logs>/features/{dataset}/{model}.log",
    benchmark:
        "<benchmarks>/features/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.realities()),
    conda:
        "../envs/prh.yaml"
    params:
        spec=plan.world_spec(),
    shell:
        "python {input.script} --spec {params.spec:q} --model {wildcards.model} --manifest {input.manifest}"
        " --shards {input.shards} --output {output} > {log} 2>&1"
