# Stage 6: studies. Each makes a table for one question, its statistics, and its figure. See prh/studies/base.py.


rule study:
    input:
        tables=lambda wildcards: [path for *_, path in reads_of(wildcards.table)],
    output:
        table="<results>/tables/{table}.parquet",
    log:
        "<logs>/studies/{table}.log",
    benchmark:
        "<timings>/studies/{table}.tsv"
    wildcard_constraints:
        table=one_of(with_tables(False)),
    conda:
        "../envs/prh.yaml"
    params:
        program=program("study.py"),
        spec=spec("study", "table"),
        lists=tables_from(reads_of, "table"),
        outputs=named_outputs,  # the table, and statistics if the study has any
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
        "<timings>/figures/{figure}.tsv"
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
