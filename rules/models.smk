# Stage 2: fetch the weights of the models. Every later job runs with the hub offline.


rule download_model:
    input:
        script="workflow_scripts/download_model.py",
        code=code("download_model.py"),
    output:
        "<results>/models/{model}/weights.json",
    log:
        "<logs>/download_model/{model}.log",
    benchmark:
        "<benchmarks>/download_model/{model}.tsv"
    localrule: True
    conda:
        "../envs/prh.yaml"
    params:
        spec=lambda wildcards: plan.weights_spec(wildcards.model),
    shell:
        "python {input.script} --spec {params.spec:q} --output {output} > {log} 2>&1"
