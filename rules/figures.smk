# Stage 6: figures, each a function of tables in results/tables.

from itertools import product


def measures():
    """How alignment is measured: a metric, with a number of neighbours where it has one; by name, for paths."""
    found = {}
    for metric, k in product(experiment.alignment.metrics, experiment.alignment.k):
        needs_k = METRICS[metric].needs_k
        found[f"{metric}_k{k}" if needs_k else metric] = {"metric": metric, "k": k if needs_k else None}
    return found


MEASURES = measures()
LAYER_PAIRS = {f"{x}__{y}": [x, y] for x, y in experiment.figures.layer_pairs} | {"strongest": None}


def figures_wanted():
    """Every figure that the models of the experiment allow."""
    for dataset, measure in product(DATASETS, MEASURES):
        names = models_of(dataset)
        modalities = {MODELS[name].modality for name in names}
        folder = f"<results>/figures/{dataset}/{measure}"
        if len(names) < 2:
            continue
        yield f"{folder}/alignment_matrix.svg"
        if experiment.alignment.permutations and METRICS[MEASURES[measure]["metric"]].bounded:
            yield f"{folder}/alignment_matrix_calibrated.svg"
        yield from (f"{folder}/layer_matrix_{pair}.svg" for pair, chosen in LAYER_PAIRS.items() if set(chosen or []) <= set(names))
        if {"vision", "language"} <= modalities:
            yield f"{folder}/cross_modal.svg"


def where(wildcards):
    """The rows of a table that a figure is about."""
    return json.dumps({"dataset": wildcards.dataset, **MEASURES[wildcards.measure]})


wildcard_constraints:
    measure=one_of(MEASURES),
    pair=one_of(LAYER_PAIRS),


rule alignment_matrix:
    input:
        script="workflow_scripts/draw.py",
        code=code("draw.py", "prh/figures/alignment_matrix.py"),
        best="<results>/tables/alignment.parquet",
        models="<results>/tables/models.parquet",
    output:
        multiext("<results>/figures/{dataset}/{measure}/alignment_matrix{kind}", ".svg", ".png"),
    params:
        where=where,
        options=lambda wildcards: json.dumps({"value": "calibrated" if wildcards.kind else "score"}),
    wildcard_constraints:
        kind="(_calibrated)?",
    log:
        "<logs>/figures/{dataset}/{measure}/alignment_matrix{kind}.log",
    conda:
        "../envs/prh.yaml"
    shell:
        "python {input.script} alignment_matrix --tables best={input.best} models={input.models}"
        " --where {params.where:q} --options {params.options:q} --output {output[0]} > {log} 2>&1"


rule cross_modal:
    input:
        script="workflow_scripts/draw.py",
        code=code("draw.py", "prh/figures/cross_modal.py"),
        best="<results>/tables/alignment.parquet",
        models="<results>/tables/models.parquet",
    output:
        multiext("<results>/figures/{dataset}/{measure}/cross_modal", ".svg", ".png"),
    params:
        where=where,
    log:
        "<logs>/figures/{dataset}/{measure}/cross_modal.log",
    conda:
        "../envs/prh.yaml"
    shell:
        "python {input.script} cross_modal --tables best={input.best} models={input.models}"
        " --where {params.where:q} --output {output[0]} > {log} 2>&1"


rule layer_scores:
    input:
        script="workflow_scripts/layer_scores.py",
        code=code("layer_scores.py"),
        best="<results>/tables/alignment.parquet",
        rows=lambda wildcards: [
            f"<results>/alignment/{wildcards.dataset}/{MEASURES[wildcards.measure]['metric']}/{model}.parquet"
            for model in models_of(wildcards.dataset)
        ],
    output:
        "<results>/tables/layers/{dataset}/{measure}/{pair}.parquet",
    params:
        where=where,
        pair=lambda wildcards: option("--pair", " ".join(LAYER_PAIRS[wildcards.pair] or [])),
    log:
        "<logs>/layer_scores/{dataset}/{measure}/{pair}.log",
    conda:
        "../envs/prh.yaml"
    shell:
        "python {input.script} --where {params.where:q} {params.pair} --best {input.best} --rows {input.rows}"
        " --output {output} > {log} 2>&1"


rule layer_matrix:
    input:
        script="workflow_scripts/draw.py",
        code=code("draw.py", "prh/figures/layer_matrix.py"),
        scores="<results>/tables/layers/{dataset}/{measure}/{pair}.parquet",
    output:
        multiext("<results>/figures/{dataset}/{measure}/layer_matrix_{pair}", ".svg", ".png"),
    params:
        options=lambda wildcards: json.dumps({"metric": MEASURES[wildcards.measure]["metric"]}),
    log:
        "<logs>/figures/{dataset}/{measure}/layer_matrix_{pair}.log",
    conda:
        "../envs/prh.yaml"
    shell:
        "python {input.script} layer_matrix --tables rows={input.scores} --options {params.options:q}"
        " --output {output[0]} > {log} 2>&1"
