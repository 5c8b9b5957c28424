# Stage 2: fetch the weights of the models. Every later job runs with the hub offline.


rule download_model:
    input:
        script="workflow_scripts/download_model.py",
        code=code("download_model.py"),
    output:
        "<results>/models/{model}/weights.json",
    params:
        spec=lambda wildcards: spec(MODELS[wildcards.model], WEIGHTS_DO_NOT_DEPEND_ON),
    log:
        "<logs>/download_model/{model}.log",
    benchmark:
        "<benchmarks>/download_model/{model}.tsv"
    conda:
        "../envs/prh.yaml"
    localrule: True
    shell:
        "python {input.script} --spec {params.spec:q} --output {output} > {log} 2>&1"


WEIGHTS_DO_NOT_DEPEND_ON = {
    "family",
    "pooling",
    "layers",
    "special_tokens",
    "template",
    "caption",
    "dtype",
    "seed",
    "model_args",
    "trust_remote_code",
}
