# Stage 4: neighbours of every layer, then each model against the models before it, then the table of best layer pairs.

from prh.metrics import METRICS


def neighbours_spec():
    return spec(experiment.alignment, set(type(experiment.alignment).model_fields) - {"clamp", "clamp_scope", "normalise", "k_max"})


def alignment_spec(wildcards):
    """What a row depends on: k only for metrics that look at neighbours, and nothing of other metrics."""
    settings = experiment.alignment.model_dump(mode="json")
    chosen = {name: settings[name] for name in ("k", "permutations", "subsamples", "splits", "alpha", "seed")}
    if not METRICS[wildcards.metric].needs_k:
        chosen["k"] = []
    preparation = {name: settings[name] for name in ("clamp", "clamp_scope", "normalise")}
    return json.dumps({"metric": wildcards.metric, "settings": chosen, "preparation": preparation}, sort_keys=True)


def row_models(wildcards):
    """The model of a row, then the models before it in the experiment."""
    names = models_of(wildcards.dataset)
    return names[names.index(wildcards.model) :: -1]


def row_tables(kind):
    """The tables of a kind, features or neighbours, that a row reads: none if its metric does not need the kind."""

    def paths(wildcards):
        if METRICS[wildcards.metric].needs not in (kind, "both"):
            return []
        return [f"<results>/{kind}/{wildcards.dataset}/{name}.parquet" for name in row_models(wildcards)]

    return paths


def option(flag, value):
    """A command-line option with its values, or nothing where there are none."""
    return f"{flag} {value}" if value else ""


rule neighbours:
    input:
        script="workflow_scripts/neighbours.py",
        code=code("neighbours.py"),
        features="<results>/features/{dataset}/{model}.parquet",
    output:
        "<results>/neighbours/{dataset}/{model}.parquet",
    params:
        spec=neighbours_spec(),
    log:
        "<logs>/neighbours/{dataset}/{model}.log",
    benchmark:
        "<benchmarks>/neighbours/{dataset}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    threads: 2
    shell:
        "python {input.script} --spec {params.spec:q} --features {input.features} --output {output}"
        " --threads {threads} > {log} 2>&1"


rule alignment:
    input:
        script="workflow_scripts/alignment.py",
        code=code("alignment.py"),
        features=row_tables("features"),
        neighbours=row_tables("neighbours"),
        shards=lambda wildcards: (
            ancient(f"<results>/datasets/{wildcards.dataset}/shards") if DATASETS[wildcards.dataset].group else []
        ),
    output:
        scores="<results>/alignment/{dataset}/{metric}/{model}.parquet",
        best="<results>/alignment/{dataset}/{metric}/{model}.best.parquet",
    params:
        spec=alignment_spec,
        models=row_models,
        features=lambda wildcards, input: option("--features", input.features),
        neighbours=lambda wildcards, input: option("--neighbours", input.neighbours),
        shards=lambda wildcards, input: option("--shards", input.shards),
    log:
        "<logs>/alignment/{dataset}/{metric}/{model}.log",
    benchmark:
        "<benchmarks>/alignment/{dataset}/{metric}/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    shell:
        "python {input.script} --spec {params.spec:q} --models {params.models} {params.features} {params.neighbours}"
        " {params.shards} --scores {output.scores} --best {output.best} > {log} 2>&1"


rule best_layers:
    input:
        script="workflow_scripts/best_layers.py",
        code=code("best_layers.py"),
        rows=[
            f"<results>/alignment/{dataset}/{metric}/{model}.best.parquet"
            for dataset in DATASETS
            for metric in experiment.alignment.metrics
            for model in models_of(dataset)
        ],
        features=[f"<results>/features/{dataset}/{model}.parquet" for dataset in DATASETS for model in models_of(dataset)],
    output:
        models="<results>/tables/models.parquet",
        best="<results>/tables/alignment.parquet",
    params:
        spec=json.dumps([{"model": name, "modality": model.modality, "family": model.family or name} for name, model in MODELS.items()]),
    log:
        "<logs>/best_layers.log",
    benchmark:
        "<benchmarks>/best_layers.tsv"
    conda:
        "../envs/prh.yaml"
    shell:
        "python {input.script} --spec {params.spec:q} --rows {input.rows} --features {input.features}"
        " --models {output.models} --best {output.best} > {log} 2>&1"
