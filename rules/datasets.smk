# Stage 1: fetch the data sets, check every sample, cut them into Parquet shards.


def local_source(wildcards):
    """What changes when a local data set changes: its metadata, or the folder or file itself."""
    entry = DATASETS[wildcards.dataset]
    if entry.source != "local":
        return []
    metadata = Path(entry.path, "metadata.jsonl")
    return str(metadata if metadata.is_file() else entry.path)


rule download_dataset:
    input:
        script="workflow_scripts/download_dataset.py",
        code=code("download_dataset.py"),
        source=local_source,
    output:
        "<results>/datasets/{dataset}/source.json",
    params:
        spec=lambda wildcards: spec(DATASETS[wildcards.dataset]),
    log:
        "<logs>/download_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/download_dataset/{dataset}.tsv"
    conda:
        "../envs/prh.yaml"
    localrule: True
    shell:
        "python {input.script} --spec {params.spec:q} --output {output} > {log} 2>&1"


rule shard_dataset:
    input:
        script="workflow_scripts/shard_dataset.py",
        code=code("shard_dataset.py"),
        source="<results>/datasets/{dataset}/source.json",
    output:
        manifest="<results>/datasets/{dataset}/manifest.json",
        shards=directory("<results>/datasets/{dataset}/shards"),
    params:
        spec=lambda wildcards: spec(DATASETS[wildcards.dataset]),
    log:
        "<logs>/shard_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/shard_dataset/{dataset}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: 2
    shell:
        "python {input.script} --spec {params.spec:q} --source {input.source}"
        " --manifest {output.manifest} --shards {output.shards} > {log} 2>&1"
