# Stage 5: what the models can do: probes for vision, bits per byte and lm-eval for language; joined to their alignment.


rule probes:
    input:
        script=local("workflow_scripts/probes.py"),
        code=code("probes.py"),
        shards=lambda wildcards: [
            ancient(local(f"<results>/datasets/{dataset}/shards"))
            for dataset in plan.probe_datasets(wildcards.dataset)
        ],
        features=lambda wildcards: [
            f"<results>/features/{dataset}/{wildcards.model}.parquet"
            for dataset in plan.probe_datasets(wildcards.dataset)
        ],
    output:
        "<results>/benchmarks/probes/{dataset}/{model}.parquet",
    log:
        "<logs>/probes/{dataset}/{model}.log",
    benchmark:
        "<benchmarks>/probes/{dataset}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        spec=lambda wildcards: plan.probe_spec(wildcards.dataset),
        datasets=lambda wildcards: plan.probe_datasets(wildcards.dataset),
    shell:
        "python {input.script} --spec {params.spec:q} --model {wildcards.model} --datasets {params.datasets}"
        " --shards {input.shards} --features {input.features} --output {output} --threads {threads} > {log} 2>&1"


rule download_text:
    input:
        script=local("workflow_scripts/download_text.py"),
        code=code("download_text.py"),
        source=lambda wildcards: local(plan.texts[wildcards.text].path or []),
    output:
        local("<results>/texts/{text}.jsonl"),
    log:
        "<logs>/download_text/{text}.log",
    benchmark:
        "<benchmarks>/download_text/{text}.tsv"
    localrule: True
    conda:
        "../envs/prh.yaml"
    resources:
        lock=lock,
    params:
        spec=lambda wildcards: plan.text_spec(wildcards.text),
    shell:
        "python {input.script} --spec {params.spec:q} --lock {resources.lock:q} --output {output} > {log} 2>&1"


rule bits_per_byte:
    input:
        script=local("workflow_scripts/bits_per_byte.py"),
        code=code("bits_per_byte.py"),
        text=local("<results>/texts/{text}.jsonl"),
        weights=local("<results>/models/{model}/weights.json"),
    output:
        "<results>/benchmarks/bits_per_byte/{text}/{model}.parquet",
    log:
        "<logs>/bits_per_byte/{text}/{model}.log",
    benchmark:
        "<benchmarks>/bits_per_byte/{text}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=lambda wildcards: plan.gpus(wildcards.model),
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        device=compute.device,
        batch_size=str(compute.batch_size),
    params:
        spec=lambda wildcards: plan.windows_spec(wildcards.text),
        entry=lambda wildcards: plan.scoring_spec(wildcards.model),
    shell:
        "python {input.script} --spec {params.spec:q} --entry {params.entry:q} --text {input.text}"
        " --weights {input.weights} --output {output} --device {resources.device} --gpus {resources.gpu}"
        " --batch-size {resources.batch_size} --threads {threads} > {log} 2>&1"


rule download_task:
    input:
        script=local("workflow_scripts/download_task.py"),
        code=code("download_task.py"),
        source=local_task,
    output:
        local("<results>/tasks/{task}/{task}.yaml"),
    log:
        "<logs>/download_task/{task}.log",
    benchmark:
        "<benchmarks>/download_task/{task}.tsv"
    localrule: True
    conda:
        "../envs/prh.yaml"
    resources:
        lock=lock,
    params:
        spec=lambda wildcards: plan.harness_spec(wildcards.task),
    shell:
        "python {input.script} --spec {params.spec:q} --lock {resources.lock:q} --output {output} > {log} 2>&1"


rule harness:
    input:
        script=local("workflow_scripts/harness.py"),
        code=code("harness.py"),
        task=local("<results>/tasks/{task}/{task}.yaml"),
        weights=local("<results>/models/{model}/weights.json"),
    output:
        results="<results>/benchmarks/harness/{task}/{model}.json",
        scores="<results>/benchmarks/harness/{task}/{model}.parquet",
    log:
        "<logs>/harness/{task}/{model}.log",
    benchmark:
        "<benchmarks>/harness/{task}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=lambda wildcards: plan.gpus(wildcards.model),
        mem_mb=lambda wildcards, attempt: plan.memory(wildcards.model, attempt),
        device=compute.device,
        batch_size=str(compute.batch_size),
    params:
        spec=lambda wildcards: plan.harness_spec(wildcards.task),
        entry=lambda wildcards: plan.scoring_spec(wildcards.model),
    shell:
        "python {input.script} --spec {params.spec:q} --entry {params.entry:q} --task {input.task}"
        " --weights {input.weights} --results {output.results} --scores {output.scores}"
        " --device {resources.device} --gpus {resources.gpu} --batch-size {resources.batch_size}"
        " --threads {threads} > {log} 2>&1"


rule scores:
    input:
        script=local("workflow_scripts/scores.py"),
        code=code("scores.py"),
        published=local("resources/published_scores.csv"),
        probes=[f"<results>/benchmarks/probes/{dataset}/{model}.parquet" for dataset, model in plan.probe_runs()],
        texts=[
            f"<results>/benchmarks/bits_per_byte/{text}/{model}.parquet"
            for text in plan.texts
            for model in plan.scored()
        ],
        harness=[
            f"<results>/benchmarks/harness/{task}/{model}.parquet" for task in plan.harness for model in plan.scored()
        ],
    output:
        "<results>/tables/scores.parquet",
    log:
        "<logs>/scores.log",
    benchmark:
        "<benchmarks>/scores.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        models=plan.published_spec(),
    shell:
        "python {input.script} --models {params.models:q} --published {input.published}"
        " --measured {input.probes} {input.texts} {input.harness}"
        " --output {output} > {log} 2>&1"


rule join:
    input:
        script=local("workflow_scripts/join.py"),
        code=code("join.py"),
        best="<results>/tables/alignment.parquet",
        models="<results>/tables/models.parquet",
        scores="<results>/tables/scores.parquet",
    output:
        table="<results>/tables/{dataset}/{measure}/figure{number}{kind}.parquet",
        statistics="<results>/tables/{dataset}/{measure}/figure{number}{kind}_statistics.parquet",
    log:
        "<logs>/join/{dataset}/{measure}/figure{number}{kind}.log",
    benchmark:
        "<benchmarks>/join/{dataset}/{measure}/figure{number}{kind}.tsv"
    wildcard_constraints:
        number="[234]",
    conda:
        "../envs/prh.yaml"
    params:
        spec=lambda wildcards: plan.join_spec(
            wildcards.dataset, wildcards.measure, int(wildcards.number), "calibrated" if wildcards.kind else "score"
        ),
    shell:
        "python {input.script} figure{wildcards.number} --spec {params.spec:q} --best {input.best}"
        " --models {input.models} --scores {input.scores} --table {output.table} --statistics {output.statistics} > {log} 2>&1"
