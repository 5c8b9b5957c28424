# Stage 1: fetch the data sets, check every sample, cut them into Parquet shards.


rule download_dataset:
    input:
        source=local_source,
    output:
        local("<results>/datasets/{dataset}/source.json"),
    log:
        "<logs>/download_dataset/{dataset}.log",
    benchmark:
        "<timings>/download_dataset/{dataset}.tsv"
    localrule: True
    conda:
        "../envs/prh.yaml"
    params:
        program=program("download_dataset.py"),
        spec=spec("download_dataset", "dataset"),
        lock=untracked(lock),
    shell:
        "python {params.program:q} --spec {params.spec:q} --lock {params.lock:q} --output {output:q} > {log:q} 2>&1"


rule shard_dataset:
    input:
        source=local("<results>/datasets/{dataset}/source.json"),
    output:
        manifest=local("<results>/datasets/{dataset}/manifest.json"),
        shards=local(directory("<results>/datasets/{dataset}/shards")),
    log:
        "<logs>/shard_dataset/{dataset}.log",
    benchmark:
        "<timings>/shard_dataset/{dataset}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads  # with more it would wait for that many free cores, and all models would wait for it
    params:
        program=program("shard_dataset.py"),
        spec=spec("shard_dataset", "dataset"),
    shell:
        "python {params.program:q} --spec {params.spec:q} --source {input.source:q}"
        " --manifest {output.manifest:q} --shards {output.shards:q} --threads {threads} > {log:q} 2>&1"
