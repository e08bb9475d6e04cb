"""Patch stores: random access to each participant's pair.

1. patch_store  source (on the grid of every scale), target and mask of one participant in one memory-mapped file
"""


rule patch_store:
    """The store from which patches are drawn while training."""
    input:
        source=lambda wildcards: STUDY.preprocessed(STUDY.pairs[wildcards.participant].source),
        target=lambda wildcards: STUDY.preprocessed(STUDY.pairs[wildcards.participant].target),
        mask=lambda wildcards: STUDY.mask(STUDY.pairs[wildcards.participant].target),
        reduced=lambda wildcards: [
            STUDY.preprocessed(STUDY.pairs[wildcards.participant].source, scale) for scale in STUDY.scales
        ],
    output:
        f"{ROOT}/patches/{{participant}}.safetensors",
    log:
        f"{ROOT}/logs/patches/{{participant}}.log",
    benchmark:
        f"{ROOT}/benchmarks/patches/{{participant}}.tsv"
    group:
        "preprocess"
    conda:
        "../envs/model.yaml"
    resources:
        mem_mb=memory("patch_store"),
        runtime=minutes("patch_store"),
    params:
        scales=STUDY.scales,
    script:
        "../workflow/scripts/patch_store.py"
