"""Patch stores: random access to each pair, or to each scan without one.

1. patch_store  source (its contrasts, on the grid of every scale), target and mask in one memory-mapped file
"""

STEP = step("patches.store.extract", "patches/{store}")


rule patch_store:
    """The store from which patches are drawn while training."""
    input:
        lambda wildcards: [path for contrasts in downsampled_images(wildcards) for path in contrasts],
        unpack(store_images),
    output:
        store=PATHS("store"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "preprocess"
    conda:
        "../envs/model.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        scales=STUDY.methods.scales,
        downsampled=lambda wildcards, input: downsampled_images(wildcards),
    script:
        "../workflow/scripts/step.py"
