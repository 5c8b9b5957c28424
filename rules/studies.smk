# Stage 6: studies: a table for each question, its statistics, and its picture. See prh/studies/base.py.


def reads_of(path):
    """(argument, stage, names, path) of each table that a study reads: which job makes it, and where."""
    study, target = plan.targets[path]
    dataset, metric, k = (target.rows.get(key) for key in ("dataset", "metric", "k"))
    for name in study.reads:
        match name:
            case "best":
                yield name, "best_layers", (), "<results>/tables/alignment.parquet"
            case "models":
                yield name, "best_layers", (), "<results>/tables/models.parquet"
            case "scores":
                yield name, "scores", (), "<results>/tables/scores.parquet"
            case "sweep":
                measure = plan.measure(metric, k)
                yield name, "best_layers", (), f"<results>/tables/{dataset}/{measure}/n_sweep.parquet"
            case "rows":
                for model in plan.models_of(dataset):
                    yield name, "alignment", (
                        dataset,
                        metric,
                    ), f"<results>/alignment/{dataset}/{metric}/{model}.parquet"


def draws_of(path):
    """The same of each table that a picture is drawn from: those that its study makes, or those that it reads."""
    study, _ = plan.targets[path]
    if study.table is None:
        yield from reads_of(path)
        return
    yield "table", "study", (path,), f"<results>/tables/{path}.parquet"
    if study.has_statistics:
        yield "statistics", "study", (path,), f"<results>/tables/{path}_statistics.parquet"


def tables_from(of, wildcard):
    """The lists of arguments for the tables that ``of`` tells, of the study that a wildcard names."""
    return lists(
        reads=lambda wildcards: [name for name, *_ in of(getattr(wildcards, wildcard))],
        tables="tables",
        tables_specs=lambda wildcards: [
            spec_of(stage, *names).digest for _, stage, names, _ in of(getattr(wildcards, wildcard))
        ],
    )


def named_outputs(wildcards, input, output):
    """The outputs of a job as options by their names."""
    return shlex.join(word for name, path in output.items() for word in (f"--{name}", path))


def with_tables(has_statistics):
    """The paths of studies with a table of their own, with or without statistics."""
    return [path for path, (study, _) in plan.targets.items() if study.table and study.has_statistics is has_statistics]


rule study:
    input:
        tables=lambda wildcards: [path for *_, path in reads_of(wildcards.table)],
    output:
        table="<results>/tables/{table}.parquet",
    log:
        "<logs>/studies/{table}.log",
    benchmark:
        "<benchmarks>/studies/{table}.tsv"
    wildcard_constraints:
        table=one_of(with_tables(False)),
    conda:
        "../envs/prh.yaml"
    params:
        program=program("study.py"),
        spec=spec("study", "table"),
        lists=tables_from(reads_of, "table"),
        outputs=named_outputs,  # one or two
    shell:
        "python {params.program:q} --spec {params.spec:q} {params.lists} {params.outputs} > {log:q} 2>&1"


use rule study as study_with_statistics with:
    output:
        table="<results>/tables/{table}.parquet",
        statistics="<results>/tables/{table}_statistics.parquet",
    wildcard_constraints:
        table=one_of(with_tables(True)),


rule draw:
    input:
        tables=lambda wildcards: [path for *_, path in draws_of(wildcards.figure)],
    output:
        svg="<results>/figures/{figure}.svg",
        png="<results>/figures/{figure}.png",
    log:
        "<logs>/figures/{figure}.log",
    benchmark:
        "<benchmarks>/figures/{figure}.tsv"
    wildcard_constraints:
        figure=one_of(plan.targets),
    conda:
        "../envs/prh.yaml"
    params:
        program=program("draw.py"),
        spec=spec("draw", "figure"),
        lists=tables_from(draws_of, "figure"),
    shell:
        "python {params.program:q} --spec {params.spec:q} {params.lists} --output {output.svg:q} > {log:q} 2>&1"
