# Stage 6: figures, each a function of tables in results/tables.


rule alignment_matrix:
    input:
        best="<results>/tables/alignment.parquet",
        models="<results>/tables/models.parquet",
    output:
        svg="<results>/figures/{dataset}/{measure}/alignment_matrix{kind}.svg",
        png="<results>/figures/{dataset}/{measure}/alignment_matrix{kind}.png",
    log:
        "<logs>/figures/{dataset}/{measure}/alignment_matrix{kind}.log",
    benchmark:
        "<benchmarks>/figures/{dataset}/{measure}/alignment_matrix{kind}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("alignment_matrix", "dataset", "measure", "kind"),
        best_spec=untracked(digest("best_layers")),
    shell:
        "python {params.program:q} alignment_matrix --spec {params.spec:q} --tables best={input.best:q} models={input.models:q}"
        " --tables-specs best={params.best_spec} models={params.best_spec} --output {output.svg:q} > {log:q} 2>&1"


rule cross_modal:
    input:
        best="<results>/tables/alignment.parquet",
        models="<results>/tables/models.parquet",
    output:
        svg="<results>/figures/{dataset}/{measure}/cross_modal.svg",
        png="<results>/figures/{dataset}/{measure}/cross_modal.png",
    log:
        "<logs>/figures/{dataset}/{measure}/cross_modal.log",
    benchmark:
        "<benchmarks>/figures/{dataset}/{measure}/cross_modal.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("cross_modal", "dataset", "measure"),
        best_spec=untracked(digest("best_layers")),
    shell:
        "python {params.program:q} cross_modal --spec {params.spec:q} --tables best={input.best:q} models={input.models:q}"
        " --tables-specs best={params.best_spec} models={params.best_spec} --output {output.svg:q} > {log:q} 2>&1"


rule layer_scores:
    input:
        best="<results>/tables/alignment.parquet",
        rows=rows_of,
    output:
        "<results>/tables/layers/{dataset}/{measure}/{pair}.parquet",
    log:
        "<logs>/layer_scores/{dataset}/{measure}/{pair}.log",
    benchmark:
        "<benchmarks>/layer_scores/{dataset}/{measure}/{pair}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("layer_scores.py"),
        spec=spec("layer_scores", "dataset", "measure", "pair"),
        best_spec=untracked(digest("best_layers")),
        lists=lists(
            rows="rows",
            rows_spec=lambda wildcards: (
                spec_of("alignment", wildcards.dataset, str(plan.measures[wildcards.measure]["metric"])).digest
            ),
        ),
    shell:
        "python {params.program:q} --spec {params.spec:q} --best {input.best:q} --best-spec {params.best_spec}"
        " {params.lists} --output {output:q} > {log:q} 2>&1"


rule layer_matrix:
    input:
        scores="<results>/tables/layers/{dataset}/{measure}/{pair}.parquet",
    output:
        svg="<results>/figures/{dataset}/{measure}/layer_matrix_{pair}.svg",
        png="<results>/figures/{dataset}/{measure}/layer_matrix_{pair}.png",
    log:
        "<logs>/figures/{dataset}/{measure}/layer_matrix_{pair}.log",
    benchmark:
        "<benchmarks>/figures/{dataset}/{measure}/layer_matrix_{pair}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("layer_matrix", "measure"),
        scores_spec=untracked(digest("layer_scores", "dataset", "measure", "pair")),
    shell:
        "python {params.program:q} layer_matrix --spec {params.spec:q} --tables rows={input.scores:q}"
        " --tables-specs rows={params.scores_spec} --output {output.svg:q} > {log:q} 2>&1"


rule paper_figure:
    input:
        table="<results>/tables/{dataset}/{measure}/figure{number}{kind}.parquet",
        statistics="<results>/tables/{dataset}/{measure}/figure{number}{kind}_statistics.parquet",
    output:
        svg="<results>/figures/{dataset}/{measure}/figure{number}{kind}.svg",
        png="<results>/figures/{dataset}/{measure}/figure{number}{kind}.png",
    log:
        "<logs>/figures/{dataset}/{measure}/figure{number}{kind}.log",
    benchmark:
        "<benchmarks>/figures/{dataset}/{measure}/figure{number}{kind}.tsv"
    wildcard_constraints:
        number="[234]",
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("paper_figure", "number"),
        join_spec=untracked(digest("join", "dataset", "measure", "number", "kind")),
    shell:
        "python {params.program:q} figure{wildcards.number} --spec {params.spec:q} --tables table={input.table:q} statistics={input.statistics:q}"
        " --tables-specs table={params.join_spec} statistics={params.join_spec} --output {output.svg:q} > {log:q} 2>&1"


rule n_sweep_figure:
    input:
        best="<results>/tables/{dataset}/{measure}/n_sweep.parquet",
    output:
        svg="<results>/figures/{dataset}/{measure}/n_sweep.svg",
        png="<results>/figures/{dataset}/{measure}/n_sweep.png",
    log:
        "<logs>/figures/{dataset}/{measure}/n_sweep.log",
    benchmark:
        "<benchmarks>/figures/{dataset}/{measure}/n_sweep.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("n_sweep_figure", "dataset", "measure"),
        best_spec=untracked(digest("best_layers")),
    shell:
        "python {params.program:q} n_sweep --spec {params.spec:q} --tables best={input.best:q}"
        " --tables-specs best={params.best_spec} --output {output.svg:q} > {log:q} 2>&1"


rule k_sweep_figure:
    input:
        best="<results>/tables/alignment.parquet",
        models="<results>/tables/models.parquet",
    output:
        svg="<results>/figures/{dataset}/k_sweep_{metric}.svg",
        png="<results>/figures/{dataset}/k_sweep_{metric}.png",
    log:
        "<logs>/figures/{dataset}/k_sweep_{metric}.log",
    benchmark:
        "<benchmarks>/figures/{dataset}/k_sweep_{metric}.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("k_sweep_figure", "dataset", "metric"),
        best_spec=untracked(digest("best_layers")),
    shell:
        "python {params.program:q} k_sweep --spec {params.spec:q} --tables best={input.best:q} models={input.models:q}"
        " --tables-specs best={params.best_spec} models={params.best_spec} --output {output.svg:q} > {log:q} 2>&1"


rule metric_correlation:
    input:
        table="<results>/tables/{dataset}/metric_correlation.parquet",
    output:
        svg="<results>/figures/{dataset}/metric_correlation.svg",
        png="<results>/figures/{dataset}/metric_correlation.png",
    log:
        "<logs>/figures/{dataset}/metric_correlation.log",
    benchmark:
        "<benchmarks>/figures/{dataset}/metric_correlation.tsv"
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("metric_correlation"),
        table_spec=untracked(digest("metric_correlation_table", "dataset")),
    shell:
        "python {params.program:q} metric_correlation --spec {params.spec:q} --tables table={input.table:q}"
        " --tables-specs table={params.table_spec} --output {output.svg:q} > {log:q} 2>&1"
