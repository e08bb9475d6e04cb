"""Preprocessing of pairs: from native scans to one grid, interpolated once.

1. simulate     for simulated pairing: the source scan made from the target scan
2. register     transform from source to target, and back
3. standardise  each scan on the pair's working grid, cut to its brain or head and normalized, with the inverse stored
4. reduce       the source on the working grid coarsened by a method's scale, for methods that enlarge
5. normalise    each scan of an unpaired study, on a working grid of its own
"""

WAYS = [
    {"start": start, "end": end, "extension": STUDY.warp_extension}
    for start, end in (("source", "target"), ("target", "source"))
]
GRID_AND_INTENSITY = {key: PREPROCESS[key] for key in ("spacing", "normalize")}


STEP = step("preprocess.simulation.simulate", "preprocess/{folder}/{scan}_{suffix}_simulate")


rule simulate:
    """A simulated source scan: the one degradation of training and test."""
    input:
        target=lambda wildcards: STUDY.native(STUDY.pair_of(scan_of(wildcards)).target),
    output:
        PATHS.both("simulated")[1],
        simulated=PATHS("simulated"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        settings=degradation.used(config["simulate"]),
        participant=lambda wildcards: scan_of(wildcards).participant,
    script:
        "../workflow/scripts/step.py"


STEP = step("preprocess.register.register", "preprocess/{folder}/{scan}_register")


rule register:
    """Transform from the source scan to its target, and its inverse."""
    input:
        unpack(lambda wildcards: pair_images(scan_of(wildcards))),
    output:
        [PATHS.both("transform", **way)[1] for way in WAYS],
        forward=PATHS("transform", **WAYS[0]),
        inverse=PATHS("transform", **WAYS[1]),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        settings=PREPROCESS["registration"],
    script:
        "../workflow/scripts/step.py"


STEP = step("preprocess.standardize.standardize", "preprocess/{folder}/{scan}_{suffix}_standardise")


rule standardise:
    """A scan on its pair's working grid, cut to its brain or head and normalized."""
    input:
        unpack(native_images),
    output:
        PATHS.both("preprocessed")[1],
        preprocessed=PATHS("preprocessed"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        settings=GRID_AND_INTENSITY,
        multiple=STUDY.methods.multiple,
        scale=SAME,
    script:
        "../workflow/scripts/step.py"


STEP = step("preprocess.standardize.standardize", "preprocess/{folder}/{scan}_{suffix}_reduce-{scale}")


rule reduce:
    """A source scan on its pair's working grid coarsened by a scale: one voxel for each block of the target's."""
    input:
        unpack(native_images),
    output:
        PATHS.both("downsampled")[1],
        preprocessed=PATHS("downsampled"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        scale=r"\d+x\d+x\d+",
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        settings=GRID_AND_INTENSITY,
        multiple=STUDY.methods.multiple,
        scale=lambda wildcards: [int(factor) for factor in wildcards.scale.split("x")],
    script:
        "../workflow/scripts/step.py"


STEP = step("preprocess.standardize.standardize", "preprocess/{folder}/{scan}_{suffix}_normalise")


rule normalise:
    """A scan of an unpaired study on a working grid of its own, cut to its brain or head and normalized."""
    input:
        unpack(lambda wildcards: head(scan_of(wildcards))),
        image=PATHS("corrected"),
        mask=PATHS("mask"),
        target_mask=lambda wildcards: STUDY.region(scan_of(wildcards)),
        decision=lambda wildcards: decision(scan_of(wildcards).participant),
    output:
        PATHS.both("preprocessed_alone")[1],
        preprocessed=PATHS("preprocessed_alone"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        scan=OWN_GRID,
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        settings=GRID_AND_INTENSITY,
        multiple=SAME,
        scale=SAME,
    script:
        "../workflow/scripts/step.py"
