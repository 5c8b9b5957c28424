# Stage 4: neighbours of every layer, then each model against the models before it, then the table of best layer pairs.


rule neighbours:
    input:
        script=local("workflow_scripts/neighbours.py"),
        code=code("neighbours.py"),
        features="<results>/features/{dataset}/{model}.parquet",
    output:
        "<results>/neighbours/{dataset}/{model}.parquet",
    log:
        "<logs>/neighbours/{dataset}/{model}.log",
    benchmark:
        "<benchmarks>/neighbours/{dataset}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        # not params: how a neighbour is found does not change it
        gpu=int(search_device == "cuda"),
        mem_mb=comparing_memory(5 if plan.preparation["clamp_scope"] == "global" else 1),  # else a layer at a time
        device=search_device,
        memory_gb=str(compute.memory_gb),
    params:
        spec=plan.neighbours_spec(),
    shell:
        "python {input.script} --spec {params.spec:q} --features {input.features} --output {output}"
        " --threads {threads} --device {resources.device} --memory-gb {resources.memory_gb} > {log} 2>&1"


rule alignment:
    input:
        script=local("workflow_scripts/alignment.py"),
        code=code("alignment.py"),
        features=row_tables("features"),
        neighbours=row_tables("neighbours"),
        # for the groups of samples; the neighbours say already whether the samples are the same
        shards=lambda wildcards: ancient(local(f"<results>/datasets/{wildcards.dataset}/shards")),
    output:
        scores="<results>/alignment/{dataset}/{metric}/{model}.parquet",
        best="<results>/alignment/{dataset}/{metric}/{model}.best.parquet",
    log:
        "<logs>/alignment/{dataset}/{metric}/{model}.log",
    benchmark:
        "<benchmarks>/alignment/{dataset}/{metric}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    resources:
        gpu=lambda wildcards: int(row_device(wildcards) == "cuda"),
        mem_mb=comparing_memory(10),  # two models at a time
        device=row_device,
        memory_gb=str(compute.memory_gb),
    params:
        spec=lambda wildcards: plan.row_spec(wildcards.metric),
        models=lambda wildcards: plan.row(wildcards.dataset, wildcards.model),
        groups=groups_option,
    shell:
        "python {input.script} --spec {params.spec:q} --models {params.models}"
        " --features {input.features} --neighbours {input.neighbours} {params.groups} --scores {output.scores} --best {output.best}"
        " --device {resources.device} --memory-gb {resources.memory_gb} > {log} 2>&1"


rule best_layers:
    input:
        script=local("workflow_scripts/best_layers.py"),
        code=code("best_layers.py"),
        rows=[
            f"<results>/alignment/{dataset}/{metric}/{model}.best.parquet"
            for metric in experiment.alignment.metrics
            for dataset, model in plan.comparisons()
        ],
        features=[f"<results>/features/{dataset}/{model}.parquet" for dataset, model in plan.comparisons()],
    output:
        models="<results>/tables/models.parquet",
        best="<results>/tables/alignment.parquet",
    log:
        "<logs>/best_layers.log",
    benchmark:
        "<benchmarks>/best_layers.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        spec=plan.models_spec(),
    shell:
        "python {input.script} --spec {params.spec:q} --rows {input.rows} --features {input.features}"
        " --models {output.models} --best {output.best} > {log} 2>&1"


rule n_sweep:
    input:
        script=local("workflow_scripts/n_sweep.py"),
        code=code("n_sweep.py"),
        features=lambda wildcards: [
            f"<results>/features/{wildcards.dataset}/{name}.parquet"
            for name in plan.row(wildcards.dataset, wildcards.model)
        ],
        shards=lambda wildcards: ancient(local(f"<results>/datasets/{wildcards.dataset}/shards")),
    output:
        "<results>/alignment/{dataset}/{metric}/{model}.sweep.parquet",
    log:
        "<logs>/n_sweep/{dataset}/{metric}/{model}.log",
    benchmark:
        "<benchmarks>/n_sweep/{dataset}/{metric}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=int(search_device == "cuda"),
        mem_mb=comparing_memory(10),
        device=search_device,
        memory_gb=str(compute.memory_gb),
    params:
        spec=lambda wildcards: plan.sweep_spec(wildcards.metric),
        models=lambda wildcards: plan.row(wildcards.dataset, wildcards.model),
        groups=groups_option,
    shell:
        "python {input.script} --spec {params.spec:q} --models {params.models} --features {input.features}"
        " {params.groups} --output {output} --threads {threads} --device {resources.device}"
        " --memory-gb {resources.memory_gb} > {log} 2>&1"


rule collect_sweep:
    input:
        script=local("workflow_scripts/best_layers.py"),
        code=code("best_layers.py"),
        rows=lambda wildcards: rows_of(wildcards, "sweep.parquet"),
        features=lambda wildcards: [
            f"<results>/features/{wildcards.dataset}/{model}.parquet" for model in plan.models_of(wildcards.dataset)
        ],
    output:
        models=temp("<results>/tables/{dataset}/{measure}/n_sweep_models.parquet"),
        best="<results>/tables/{dataset}/{measure}/n_sweep.parquet",
    log:
        "<logs>/collect_sweep/{dataset}/{measure}.log",
    benchmark:
        "<benchmarks>/collect_sweep/{dataset}/{measure}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        spec=plan.models_spec(),
    shell:
        "python {input.script} --spec {params.spec:q} --rows {input.rows} --features {input.features}"
        " --models {output.models} --best {output.best} > {log} 2>&1"


rule metric_correlation_table:
    input:
        script=local("workflow_scripts/metric_correlation.py"),
        code=code("metric_correlation.py"),
        best="<results>/tables/alignment.parquet",
    output:
        "<results>/tables/{dataset}/metric_correlation.parquet",
    log:
        "<logs>/metric_correlation/{dataset}.log",
    benchmark:
        "<benchmarks>/metric_correlation/{dataset}.tsv"
    conda:
        "../envs/prh.yaml"
    shell:
        'python {input.script} --where \'{{"dataset": "{wildcards.dataset}"}}\' --best {input.best} --output {output} > {log} 2>&1'
