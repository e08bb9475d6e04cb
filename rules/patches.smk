"""Patch stores: random access to each pair, or to each scan of an unpaired study.

1. patch_store  source (its contrasts, on the grid of every scale), target and mask in one memory-mapped file
"""


rule patch_store:
    """The store from which patches are drawn while training."""
    input:
        unpack(store_images),
    output:
        f"{ROOT}/patches/{{store}}.safetensors",
    log:
        f"{ROOT}/logs/patches/{{store}}.log",
    benchmark:
        f"{ROOT}/benchmarks/patches/{{store}}.tsv"
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
