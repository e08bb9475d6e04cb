"""Patch stores: random access to each pair, or to each scan without one.

1. patch_store  source (its contrasts, on the grid of every scale), target and mask in one memory-mapped file
"""


def store_images(wildcards):
    """What a patch store is made from: a pair on one grid, or one scan."""
    content = STUDY.contents[wildcards.store]
    if not content.paired:
        (scan,) = content.scans
        image = STUDY.preprocessed(scan)
        return {"source": [image] if content.target is None else [], "mask": PATHS("mask", scan)} | (
            {} if content.target is None else {"target": image}
        )
    return {
        "source": [PATHS("preprocessed", scan) for scan in STUDY.pair_of(content.source).sources],
        "target": PATHS("preprocessed", content.target),
        "mask": PATHS("mask", content.target),
        **moved_to_template(content.target, "to_template"),
    }


def downsampled_images(wildcards):
    """Of a pair, for each scale of the study's methods, the source's contrasts on the grid coarsened by it."""
    content = STUDY.contents[wildcards.store]
    sources = STUDY.pair_of(content.source).sources if content.paired else []
    return [[STUDY.preprocessed(scan, scale) for scan in sources] for scale in STUDY.methods.scales]


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
