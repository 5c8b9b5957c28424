# Stage 1: fetch the data sets, check every sample, cut them into Parquet shards.


rule download_dataset:
    input:
        script=local("workflow_scripts/download_dataset.py"),
        code=code("download_dataset.py"),
        source=local_source,
    output:
        local("<results>/datasets/{dataset}/source.json"),
    log:
        "<logs>/download_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/download_dataset/{dataset}.tsv"
    localrule: True
    conda:
        "../envs/prh.yaml"
    resources:
        lock=lock,
    params:
        spec=lambda wildcards: plan.dataset_spec(wildcards.dataset),
        sizes=local_sizes,
    shell:
        "python {input.script} --spec {params.spec:q} --lock {resources.lock:q} --output {output} > {log} 2>&1"


rule shard_dataset:
    input:
        script=local("workflow_scripts/shard_dataset.py"),
        code=code("shard_dataset.py"),
        source=local("<results>/datasets/{dataset}/source.json"),
    output:
        manifest=local("<results>/datasets/{dataset}/manifest.json"),
        shards=local(directory("<results>/datasets/{dataset}/shards")),
    log:
        "<logs>/shard_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/shard_dataset/{dataset}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads  # not more: it would wait for as many cores to be free at once, and all models for it
    params:
        spec=lambda wildcards: plan.dataset_spec(wildcards.dataset),
    shell:
        "python {input.script} --spec {params.spec:q} --source {input.source}"
        " --manifest {output.manifest} --shards {output.shards} --threads {threads} > {log} 2>&1"
