# Stage 4: neighbours in every layer, then each model against others (as a rule those before it), then the table of best layer pairs.


rule neighbours:
    input:
        features="<results>/features/{dataset}/{model}.parquet",
    output:
        "<results>/neighbours/{dataset}/{model}.parquet",
    log:
        "<logs>/neighbours/{dataset}/{model}.log",
    benchmark:
        "<timings>/neighbours/{dataset}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=int(search_device == "cuda"),
        mem_mb=comparing_memory(5 if plan.preparation["clamp_scope"] == "global" else 1),  # layer: one at a time
    params:
        program=program("neighbours.py"),
        spec=spec("neighbours"),
        features_spec=untracked(digest("features", "dataset", "model")),
        # these do not change which neighbours are found
        device=untracked(search_device),
        memory_gb=untracked(str(compute.memory_gb)),
    shell:
        "python {params.program:q} --spec {params.spec:q} --dataset {wildcards.dataset:q} --model {wildcards.model:q}"
        " --features {input.features:q} --features-spec {params.features_spec} --output {output:q}"
        " --threads {threads} --device {params.device:q} --memory-gb {params.memory_gb:q} > {log:q} 2>&1"


rule alignment:
    input:
        features=row_tables("alignment", "features"),
        neighbours=row_tables("alignment", "neighbours"),
        # only for the groups of samples; the neighbours already tell whether the samples are the same
        shards=lambda wildcards: ancient(local(f"<results>/datasets/{wildcards.dataset}/shards")),
    output:
        scores="<results>/alignment/{dataset}/{metric}/{model}.parquet",
        best="<results>/alignment/{dataset}/{metric}/{model}.best.parquet",
    log:
        "<logs>/alignment/{dataset}/{metric}/{model}.log",
    benchmark:
        "<timings>/alignment/{dataset}/{metric}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    resources:
        gpu=lambda wildcards: int(row_device(wildcards) == "cuda"),
        mem_mb=comparing_memory(10),  # two models at a time
    params:
        program=program("alignment.py"),
        spec=spec("alignment", "dataset", "metric"),
        lists=lists(
            models=row_models("alignment"),
            removed=removed_of("alignment"),
            features="features",
            features_specs=row_digests("alignment", "features"),
            neighbours="neighbours",
            neighbours_specs=row_digests("alignment", "neighbours"),
            groups_from=groups_of,
        ),
        device=untracked(row_device),
        memory_gb=untracked(str(compute.memory_gb)),
    shell:
        "python {params.program:q} --spec {params.spec:q} --dataset {wildcards.dataset:q} {params.lists} --scores {output.scores:q} --best {output.best:q}"
        " --device {params.device:q} --memory-gb {params.memory_gb:q} > {log:q} 2>&1"


rule best_layers:
    input:
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
        "<timings>/best_layers.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("best_layers.py"),
        spec=spec("best_layers"),
        lists=lists(
            spec=spec("best_layers"),
            rows="rows",
            rows_specs=lambda wildcards: [
                spec_of("alignment", dataset, metric).digest
                for metric in experiment.alignment.metrics
                for dataset, _ in plan.comparisons()
            ],
            features="features",
            features_specs=lambda wildcards: [spec_of("features", *names).digest for names in plan.comparisons()],
        ),
    shell:
        "python {params.program:q} {params.lists} --models {output.models:q} --best {output.best:q} > {log:q} 2>&1"


rule n_sweep:
    input:
        features=row_tables("n_sweep", "features"),
        shards=lambda wildcards: ancient(local(f"<results>/datasets/{wildcards.dataset}/shards")),
    output:
        "<results>/alignment/{dataset}/{metric}/{model}.sweep.parquet",
    log:
        "<logs>/n_sweep/{dataset}/{metric}/{model}.log",
    benchmark:
        "<timings>/n_sweep/{dataset}/{metric}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: compute.threads
    resources:
        gpu=int(search_device == "cuda"),
        mem_mb=comparing_memory(10),
    params:
        program=program("n_sweep.py"),
        spec=spec("n_sweep", "dataset", "metric"),
        lists=lists(
            models=row_models("n_sweep"),
            removed=removed_of("n_sweep"),
            features="features",
            features_specs=row_digests("n_sweep", "features"),
            groups_from=groups_of,
        ),
        device=untracked(search_device),
        memory_gb=untracked(str(compute.memory_gb)),
    shell:
        "python {params.program:q} --spec {params.spec:q} --dataset {wildcards.dataset:q} {params.lists}"
        " --output {output:q} --threads {threads} --device {params.device:q}"
        " --memory-gb {params.memory_gb:q} > {log:q} 2>&1"


rule collect_sweep:
    input:
        rows=lambda wildcards: rows_of(wildcards.dataset, plan.measures[wildcards.measure]["metric"], "sweep.parquet"),
        features=lambda wildcards: [
            f"<results>/features/{wildcards.dataset}/{model}.parquet" for model in plan.models_of(wildcards.dataset)
        ],
    output:
        models=temp("<results>/tables/{dataset}/{measure}/n_sweep_models.parquet"),
        best="<results>/tables/{dataset}/{measure}/n_sweep.parquet",
    log:
        "<logs>/collect_sweep/{dataset}/{measure}.log",
    benchmark:
        "<timings>/collect_sweep/{dataset}/{measure}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("best_layers.py"),
        spec=spec("best_layers"),
        lists=lists(
            spec=spec("best_layers"),
            rows="rows",
            rows_specs=lambda wildcards: [
                spec_of("n_sweep", wildcards.dataset, str(plan.measures[wildcards.measure]["metric"])).digest
                for _ in plan.models_of(wildcards.dataset)
            ],
            features="features",
            features_specs=lambda wildcards: [
                spec_of("features", wildcards.dataset, model).digest for model in plan.models_of(wildcards.dataset)
            ],
        ),
    shell:
        "python {params.program:q} {params.lists} --models {output.models:q} --best {output.best:q} > {log:q} 2>&1"
