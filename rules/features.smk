# Stage 3: every layer of every model for every sample. One job per (data set, model); it holds its GPUs until it ends.


rule features:
    input:
        manifest=local("<results>/datasets/{dataset}/manifest.json"),
        # the manifest tells whether the content changed; the folder's own age does not
        shards=ancient(local("<results>/datasets/{dataset}/shards")),
        weights=weights_of,
    output:
        "<results>/features/{dataset}/{model}.parquet",
    log:
        "<logs>/features/{dataset}/{model}.log",
    benchmark:
        "<timings>/features/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.encoded()),
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=lambda wildcards: plan.gpus(wildcards.model),
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
    params:
        program=program("features.py"),
        spec=spec("features", "dataset", "model"),
        lists=lists(weights="weights"),  # empty for a model without weights
        # these do not change the features, so changing them reruns nothing
        device=untracked(compute.device),
        batch_size=untracked(str(compute.batch_size)),
    shell:
        "python {params.program:q} --spec {params.spec:q} --dataset {wildcards.dataset:q} --manifest {input.manifest:q}"
        " --shards {input.shards:q} {params.lists} --output {output:q} --threads {threads}"
        " --device {params.device:q} --gpus {resources.gpu} --batch-size {params.batch_size:q} > {log:q} 2>&1"


rule given:
    input:
        note=given_note,
        manifest=local("<results>/datasets/{dataset}/manifest.json"),
        shards=ancient(local("<results>/datasets/{dataset}/shards")),
    output:
        "<results>/features/{dataset}/{model}.parquet",
    log:
        "<logs>/features/{dataset}/{model}.log",
    benchmark:
        "<timings>/features/{dataset}/{model}.tsv"
    wildcard_constraints:
        model=one_of(plan.given()),
    conda:
        "../envs/prh.yaml"
    params:
        program=program("given.py"),
        spec=spec("features", "dataset", "model"),
        lists=lists(note="note"),  # absent for the kernel of the world, which is in no file
    shell:
        "python {params.program:q} --spec {params.spec:q} --dataset {wildcards.dataset:q}"
        " --manifest {input.manifest:q} --shards {input.shards:q} {params.lists} --output {output:q} > {log:q} 2>&1"
