"""Preprocessing of each scan by itself, in studies and for trained models that are applied.

1. average      several acquisitions of a session as one scan (mean, or stacks combined), where the study wants that
2. brain        brain mask of each scan on its own grid
3. bias         N4 inside the mask
4. head         head mask, where more than the brain is enhanced
5. template     the template that a study calls by its name in TemplateFlow
6. to_template  transform from target to template, and back, where the study has a template
7. contrast     transform from a further contrast to the first of its session, where there are several
"""

PREPROCESS = config["preprocess"]
# A file of one scan, on its own grid: names of others have a space in them.
OWN_GRID = r"(?!\S*_space-)sub-[^/]+"

STEP = step("preprocess.average.average", "preprocess/{folder}/{scan}_{suffix}_average")
if config["duplicates"] == "combine":
    STEP = step("preprocess.average.combine", "preprocess/{folder}/{scan}_{suffix}_average")


rule average:
    """Several acquisitions of a session as one: their mean, or stacks combined."""
    input:
        images=lambda wildcards: [scan_of(wildcards).path, *scan_of(wildcards).further],
    output:
        PATHS.both("average")[1],
        averaged=PATHS("average"),
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
        seed=PREPROCESS["registration"]["seed"],
    script:
        "../workflow/scripts/step.py"


STEP = step("preprocess.masks.extract_brain", "preprocess/{folder}/{scan}_brain")


rule brain:
    """Brain mask on the scan's own grid."""
    input:
        image=lambda wildcards: STUDY.native(scan_of(wildcards)),
        given=lambda wildcards: STUDY.brain_files(scan_of(wildcards)),
    output:
        PATHS.both("mask")[1],
        mask=PATHS("mask"),
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
        settings=lambda wildcards: STUDY.brain(scan_of(wildcards)),
    script:
        "../workflow/scripts/step.py"


STEP = step("preprocess.bias.correct_bias", "preprocess/{folder}/{scan}_{suffix}_bias")


rule bias:
    """Bias-field correction inside the mask."""
    input:
        image=lambda wildcards: STUDY.native(scan_of(wildcards)),
        mask=PATHS("mask"),
    output:
        PATHS.both("corrected")[1],
        corrected=PATHS("corrected"),
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
        enabled=PREPROCESS["n4"],
    script:
        "../workflow/scripts/step.py"


STEP = step("preprocess.head.find_head", "preprocess/{folder}/{scan}_head")


rule head:
    """Head mask on the scan's own grid."""
    input:
        image=lambda wildcards: PATHS("corrected", scan_of(wildcards)),
        mask=PATHS("mask"),
    output:
        PATHS.both("head")[1],
        head=PATHS("head"),
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
    script:
        "../workflow/scripts/step.py"


if PREPROCESS["template"]["name"] is not None:

    localrules:
        template,

    STEP = step("preprocess.template.fetch", "preprocess/template")

    rule template:
        """A template and its brain mask, from the cache of TemplateFlow or from the network."""
        output:
            image=STUDY.template[0],
            mask=STUDY.template[1],
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        conda:
            "../envs/preprocess.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            name=PREPROCESS["template"]["name"],
        script:
            "../workflow/scripts/step.py"


if STUDY.template is not None:
    WAYS = [
        {"start": "{role}", "end": STUDY.space, "extension": STUDY.template_extension},
        {"start": STUDY.space, "end": "{role}", "extension": STUDY.template_extension},
    ]

    STEP = step(
        "preprocess.register.register_to_template", f"preprocess/{{folder}}/{{scan}}_from-{{role}}_to-{STUDY.space}"
    )

    rule to_template:
        """Transform from a target, or a scan without one, to the template, and its inverse."""
        input:
            image=lambda wildcards: PATHS("corrected", scan_of(wildcards)),
            mask=lambda wildcards: PATHS("mask", scan_of(wildcards)),
            template=STUDY.template[0],
            template_mask=STUDY.template[1],
        output:
            [PATHS.both("transform", **way)[1] for way in WAYS],
            forward=PATHS("transform", **WAYS[0]),
            inverse=PATHS("transform", **WAYS[1]),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        wildcard_constraints:
            role="source|target",
        group:
            "preprocess"
        conda:
            "../envs/preprocess.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            settings={
                "transform": PREPROCESS["template"]["transform"],
                "seed": PREPROCESS["registration"]["seed"],
            },
            space=STUDY.space,
        script:
            "../workflow/scripts/step.py"


if len(config["source"]["channels"]) > 1:
    STEP = step("preprocess.register.register_contrast", "preprocess/{folder}/{scan}_contrast")

    rule contrast:
        """Transform from a further contrast to the first, found without a target, and its inverse."""
        input:
            image=lambda wildcards: PATHS("corrected", scan_of(wildcards)),
            mask=PATHS("mask"),
            first=lambda wildcards: PATHS("corrected", STUDY.contrasts(scan_of(wildcards))[0]),
            first_mask=lambda wildcards: PATHS("mask", STUDY.contrasts(scan_of(wildcards))[0]),
        output:
            [sidecar(path) for path in (STUDY.to_first(), STUDY.from_first())],
            forward=STUDY.to_first(),
            inverse=STUDY.from_first(),
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
