# Stage 6: figures, each a function of tables in results/tables.


rule alignment_matrix:
    input:
        script=local("workflow_scripts/draw.py"),
        code=code("draw.py", "prh/figures/alignment_matrix.py"),
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
        where=lambda wildcards: plan.figure_spec(wildcards.dataset, wildcards.measure),
        options=lambda wildcards: '{"value": "calibrated"}' if wildcards.kind else '{"value": "score"}',
    shell:
        "python {input.script} alignment_matrix --tables best={input.best} models={input.models}"
        " --where {params.where:q} --options {params.options:q} --output {output.svg} > {log} 2>&1"


rule cross_modal:
    input:
        script=local("workflow_scripts/draw.py"),
        code=code("draw.py", "prh/figures/cross_modal.py"),
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
        where=lambda wildcards: plan.figure_spec(wildcards.dataset, wildcards.measure),
    shell:
        "python {input.script} cross_modal --tables best={input.best} models={input.models}"
        " --where {params.where:q} --output {output.svg} > {log} 2>&1"


rule layer_scores:
    input:
        script=local("workflow_scripts/layer_scores.py"),
        code=code("layer_scores.py"),
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
        where=lambda wildcards: plan.figure_spec(wildcards.dataset, wildcards.measure),
        pair=lambda wildcards: option("--pair", " ".join(plan.layer_pairs[wildcards.pair])),
    shell:
        "python {input.script} --where {params.where:q} {params.pair} --best {input.best} --rows {input.rows}"
        " --output {output} > {log} 2>&1"


rule layer_matrix:
    input:
        script=local("workflow_scripts/draw.py"),
        code=code("draw.py", "prh/figures/layer_matrix.py"),
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
        metric=lambda wildcards: f'{{"metric": "{plan.measures[wildcards.measure]["metric"]}"}}',
    shell:
        "python {input.script} layer_matrix --tables rows={input.scores} --options {params.metric:q}"
        " --output {output.svg} > {log} 2>&1"


rule paper_figure:
    input:
        script=local("workflow_scripts/draw.py"),
        code=lambda wildcards: code("draw.py", f"prh/figures/figure{wildcards.number}.py"),
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
        options=lambda wildcards: plan.drawing_spec(int(wildcards.number)),
    shell:
        "python {input.script} figure{wildcards.number} --tables table={input.table} statistics={input.statistics}"
        " --options {params.options:q} --output {output.svg} > {log} 2>&1"


rule n_sweep_figure:
    input:
        script=local("workflow_scripts/draw.py"),
        code=code("draw.py", "prh/figures/n_sweep.py"),
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
        where=lambda wildcards: plan.figure_spec(wildcards.dataset, wildcards.measure),
    shell:
        "python {input.script} n_sweep --tables best={input.best} --where {params.where:q}"
        " --output {output.svg} > {log} 2>&1"


rule k_sweep_figure:
    input:
        script=local("workflow_scripts/draw.py"),
        code=code("draw.py", "prh/figures/k_sweep.py"),
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
        where=lambda wildcards: f'{{"dataset": "{wildcards.dataset}", "metric": "{wildcards.metric}"}}',
    shell:
        "python {input.script} k_sweep --tables best={input.best} models={input.models} --where {params.where:q}"
        " --options '{{\"standardised\": true}}' --output {output.svg} > {log} 2>&1"


rule metric_correlation:
    input:
        script=local("workflow_scripts/draw.py"),
        code=code("draw.py", "prh/figures/metric_correlation.py"),
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
    shell:
        "python {input.script} metric_correlation --tables table={input.table} --output {output.svg} > {log} 2>&1"
