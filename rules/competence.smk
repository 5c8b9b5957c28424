# Stage 5: what the models can do: probes for vision, bits per byte and lm-eval for language.


rule probes:
    input:
        shards=lambda wildcards: [
            ancient(local(f"<results>/datasets/{dataset}/shards"))
            for dataset in plan.probe_datasets(wildcards.dataset)
        ],
        features=lambda wildcards: [
            f"<results>/features/{dataset}/{wildcards.model}.parquet"
            for dataset in plan.probe_datasets(wildcards.dataset)
        ],
    output:
        "<results>/competence/probes/{dataset}/{model}.parquet",
    log:
        "<logs>/probes/{dataset}/{model}.log",
    benchmark:
        "<timings>/probes/{dataset}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("probes.py"),
        spec=spec("probes", "dataset"),
        features_specs=untracked(
            lambda wildcards: [
                spec_of("features", dataset, wildcards.model).digest
                for dataset in plan.probe_datasets(wildcards.dataset)
            ]
        ),
    shell:
        "python {params.program:q} --spec {params.spec:q} --model {wildcards.model:q} --shards {input.shards:q}"
        " --features {input.features:q} --features-specs {params.features_specs:q} --output {output:q} --threads {threads} > {log:q} 2>&1"


rule download_text:
    input:
        source=local_text,
    output:
        local("<results>/texts/{text}.jsonl"),
    log:
        "<logs>/download_text/{text}.log",
    benchmark:
        "<timings>/download_text/{text}.tsv"
    localrule: True
    conda:
        "../envs/prh.yaml"
    params:
        program=program("download_text.py"),
        spec=spec("download_text", "text"),
        lock=untracked(lock),
    shell:
        "python {params.program:q} --spec {params.spec:q} --lock {params.lock:q} --output {output:q} > {log:q} 2>&1"


rule bits_per_byte:
    input:
        text=local("<results>/texts/{text}.jsonl"),
        weights=local("<results>/models/{model}/weights.json"),
    output:
        "<results>/competence/bits_per_byte/{text}/{model}.parquet",
    log:
        "<logs>/bits_per_byte/{text}/{model}.log",
    benchmark:
        "<timings>/bits_per_byte/{text}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=lambda wildcards: plan.gpus(wildcards.model),
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
    params:
        program=program("bits_per_byte.py"),
        spec=spec("bits_per_byte", "text", "model"),
        device=untracked(compute.device),
        batch_size=untracked(str(compute.batch_size)),
    shell:
        "python {params.program:q} --spec {params.spec:q} --text {input.text:q}"
        " --weights {input.weights:q} --output {output:q} --device {params.device:q} --gpus {resources.gpu}"
        " --batch-size {params.batch_size:q} --threads {threads} > {log:q} 2>&1"


rule download_task:
    input:
        source=local_task,
    output:
        local("<results>/tasks/{task}/{task}.yaml"),
    log:
        "<logs>/download_task/{task}.log",
    benchmark:
        "<timings>/download_task/{task}.tsv"
    localrule: True
    conda:
        "../envs/prh.yaml"
    params:
        program=program("download_task.py"),
        spec=spec("download_task", "task"),
        lock=untracked(lock),
    shell:
        "python {params.program:q} --spec {params.spec:q} --lock {params.lock:q} --output {output:q} > {log:q} 2>&1"


rule harness:
    input:
        task=local("<results>/tasks/{task}/{task}.yaml"),
        weights=local("<results>/models/{model}/weights.json"),
    output:
        results="<results>/competence/harness/{task}/{model}.json",
        scores="<results>/competence/harness/{task}/{model}.parquet",
    log:
        "<logs>/harness/{task}/{model}.log",
    benchmark:
        "<timings>/harness/{task}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=lambda wildcards: plan.gpus(wildcards.model),
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
    params:
        program=program("harness.py"),
        spec=spec("harness", "task", "model"),
        device=untracked(compute.device),
        batch_size=untracked(str(compute.batch_size)),
    shell:
        "python {params.program:q} --spec {params.spec:q} --task {input.task:q}"
        " --weights {input.weights:q} --results {output.results:q} --scores {output.scores:q}"
        " --device {params.device:q} --gpus {resources.gpu} --batch-size {params.batch_size:q}"
        " --threads {threads} > {log:q} 2>&1"


rule scores:
    input:
        measured=[
            *(f"<results>/competence/probes/{dataset}/{model}.parquet" for dataset, model in plan.probe_runs()),
            *(
                f"<results>/competence/bits_per_byte/{text}/{model}.parquet"
                for text in plan.texts
                for model in plan.scored()
            ),
            *(
                f"<results>/competence/harness/{task}/{model}.parquet"
                for task in plan.harness
                for model in plan.scored("harness")
            ),
        ],
    output:
        "<results>/tables/scores.parquet",
    log:
        "<logs>/scores.log",
    benchmark:
        "<timings>/scores.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("scores.py"),
        spec=spec("scores"),  # with the digest of the published scores
        published=untracked(str(WORKFLOW / "resources/published_scores.csv")),
        lists=lists(
            spec=spec("scores"),
            measured="measured",
            measured_specs=lambda wildcards: [
                *(spec_of("probes", dataset).digest for dataset, _ in plan.probe_runs()),
                *(spec_of("bits_per_byte", *names).digest for names in itertools.product(plan.texts, plan.scored())),
                *(
                    spec_of("harness", *names).digest
                    for names in itertools.product(plan.harness, plan.scored("harness"))
                ),
            ],
        ),
    shell:
        "python {params.program:q} {params.lists} --published {params.published:q}"
        " --output {output:q} > {log:q} 2>&1"
