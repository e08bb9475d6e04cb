"""Preprocessing: from native scans to pairs on one grid, interpolated once.

1. average      several acquisitions of a session as one scan, where the study wants that
2. simulate     for simulated pairing: the source scan made from the target scan
3. brain        brain mask of each scan on its own grid
4. bias         N4 inside the mask
5. register     transform from source to target, and back
6. template     the template that a study calls by its name in TemplateFlow
7. to_template  transform from target to template, and back, where the study has a template
8. standardise  each scan on the pair's working grid, skull stripped and normalised, with the inverse stored
9. reduce       the source on the working grid coarsened by a method's scale, for methods that enlarge
10. normalise   each scan of an unpaired study, on a working grid of its own
"""

PREPROCESS = config["preprocess"]
# Raised on purpose when a change of the code changes the images; nothing else about the code reruns preprocessing.
PREPROCESSING_VERSION = 4


rule average:
    """The mean of several acquisitions of a session, moved onto the first."""
    input:
        lambda wildcards: [STUDY.scans[wildcards.scan].path, *STUDY.scans[wildcards.scan].further],
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-average_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-average_{{suffix}}.json",
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_{{suffix}}_average.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_{{suffix}}_average.tsv"
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("average"),
        runtime=minutes("average"),
    params:
        version=PREPROCESSING_VERSION,
        seed=PREPROCESS["registration"]["seed"],
    script:
        "../workflow/scripts/average.py"


rule simulate:
    """A simulated source scan: the one degradation of training and test."""
    input:
        lambda wildcards: STUDY.native(STUDY.pair_of(STUDY.scans[wildcards.scan]).target),
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-simulated_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-simulated_{{suffix}}.json",
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_{{suffix}}_simulate.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_{{suffix}}_simulate.tsv"
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("simulate"),
        runtime=minutes("simulate"),
    params:
        version=PREPROCESSING_VERSION,
        settings=config["simulate"],
        participant=lambda wildcards: STUDY.scans[wildcards.scan].participant,
    script:
        "../workflow/scripts/simulate.py"


rule brain:
    """Brain mask on the scan's own grid."""
    input:
        scan=lambda wildcards: STUDY.native(STUDY.scans[wildcards.scan]),
        given=lambda wildcards: STUDY.brain_files(STUDY.scans[wildcards.scan]),
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-brain_mask.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-brain_mask.json",
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_brain.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_brain.tsv"
    wildcard_constraints:
        scan=r"(?!\S*_space-)sub-[^/]+",
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("brain"),
        runtime=minutes("brain"),
    params:
        version=PREPROCESSING_VERSION,
        settings=lambda wildcards: STUDY.brain(STUDY.scans[wildcards.scan]),
    script:
        "../workflow/scripts/brain.py"


rule bias:
    """Bias-field correction inside the mask."""
    input:
        image=lambda wildcards: STUDY.native(STUDY.scans[wildcards.scan]),
        mask=f"{ROOT}/{{folder}}/{{scan}}_desc-brain_mask.nii.gz",
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-biascorr_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-biascorr_{{suffix}}.json",
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_{{suffix}}_bias.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_{{suffix}}_bias.tsv"
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("bias"),
        runtime=minutes("bias"),
    params:
        version=PREPROCESSING_VERSION,
        enabled=PREPROCESS["n4"],
    script:
        "../workflow/scripts/bias.py"


rule register:
    """Transform from the source scan to its target, and its inverse."""
    input:
        unpack(lambda wildcards: pair_images(wildcards.scan)),
    output:
        forward=f"{ROOT}/{{folder}}/{{scan}}_from-source_to-target_mode-image_xfm{STUDY.warp_extension}",
        inverse=f"{ROOT}/{{folder}}/{{scan}}_from-target_to-source_mode-image_xfm{STUDY.warp_extension}",
        sidecars=[
            f"{ROOT}/{{folder}}/{{scan}}_from-{start}_to-{end}_mode-image_xfm.json"
            for start, end in (("source", "target"), ("target", "source"))
        ],
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_register.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_register.tsv"
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("register"),
        runtime=minutes("register"),
    params:
        version=PREPROCESSING_VERSION,
        settings=PREPROCESS["registration"],
    script:
        "../workflow/scripts/register.py"


if PREPROCESS["template"]["name"] is not None:

    localrules:
        template,

    rule template:
        """A template and its brain mask, from the cache of TemplateFlow or from the network."""
        output:
            image=STUDY.template[0],
            mask=STUDY.template[1],
        log:
            f"{ROOT}/logs/preprocess/template.log",
        benchmark:
            f"{ROOT}/benchmarks/preprocess/template.tsv"
        conda:
            "../envs/preprocess.yaml"
        resources:
            mem_mb=memory("inventory"),
            runtime=minutes("inventory"),
        params:
            name=PREPROCESS["template"]["name"],
        script:
            "../workflow/scripts/template.py"


if STUDY.template is not None:

    rule to_template:
        """Transform from a target, or a scan without one, to the template, and its inverse."""
        input:
            image=lambda wildcards: STUDY.corrected(STUDY.scans[wildcards.scan]),
            mask=lambda wildcards: STUDY.mask(STUDY.scans[wildcards.scan]),
            template=STUDY.template[0],
            template_mask=STUDY.template[1],
        output:
            forward=f"{ROOT}/{{folder}}/{{scan}}_from-{{role}}_to-{STUDY.space}_mode-image_xfm{STUDY.template_extension}",
            inverse=f"{ROOT}/{{folder}}/{{scan}}_from-{STUDY.space}_to-{{role}}_mode-image_xfm{STUDY.template_extension}",
            sidecars=[
                f"{ROOT}/{{folder}}/{{scan}}_from-{{role}}_to-{STUDY.space}_mode-image_xfm.json",
                f"{ROOT}/{{folder}}/{{scan}}_from-{STUDY.space}_to-{{role}}_mode-image_xfm.json",
            ],
        log:
            f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_from-{{role}}_to-{STUDY.space}.log",
        benchmark:
            f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_from-{{role}}_to-{STUDY.space}.tsv"
        wildcard_constraints:
            role="source|target",
        group:
            "preprocess"
        conda:
            "../envs/preprocess.yaml"
        resources:
            mem_mb=memory("register"),
            runtime=minutes("register"),
        params:
            version=PREPROCESSING_VERSION,
            settings={
                "transform": PREPROCESS["template"]["transform"],
                "seed": PREPROCESS["registration"]["seed"],
            },
            space=STUDY.space,
        script:
            "../workflow/scripts/to_template.py"


rule standardise:
    """A scan on its pair's working grid, skull stripped and normalised."""
    input:
        unpack(native_images),
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_space-{STUDY.space}_desc-preproc_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_space-{STUDY.space}_desc-preproc_{{suffix}}.json",
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_{{suffix}}_standardise.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_{{suffix}}_standardise.tsv"
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("standardise"),
        runtime=minutes("standardise"),
    params:
        version=PREPROCESSING_VERSION,
        settings={key: PREPROCESS[key] for key in ("spacing", "normalize")},
        multiple=STUDY.multiple,
        scale=SAME,
    script:
        "../workflow/scripts/standardise.py"


rule reduce:
    """A source scan on its pair's working grid coarsened by a scale: one voxel for each block of the target's."""
    input:
        unpack(native_images),
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_space-{STUDY.space}_res-{{scale}}_desc-preproc_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_space-{STUDY.space}_res-{{scale}}_desc-preproc_{{suffix}}.json",
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_{{suffix}}_reduce-{{scale}}.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_{{suffix}}_reduce-{{scale}}.tsv"
    wildcard_constraints:
        scale=r"\d+x\d+x\d+",
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("standardise"),
        runtime=minutes("standardise"),
    params:
        version=PREPROCESSING_VERSION,
        settings={key: PREPROCESS[key] for key in ("spacing", "normalize")},
        multiple=STUDY.multiple,
        scale=lambda wildcards: [int(factor) for factor in wildcards.scale.split("x")],
    script:
        "../workflow/scripts/standardise.py"


rule normalise:
    """A scan of an unpaired study on a working grid of its own, skull stripped and normalised."""
    input:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-biascorr_{{suffix}}.nii.gz",
        mask=f"{ROOT}/{{folder}}/{{scan}}_desc-brain_mask.nii.gz",
        target_mask=f"{ROOT}/{{folder}}/{{scan}}_desc-brain_mask.nii.gz",
        verdict=lambda wildcards: STUDY.verdict(STUDY.scans[wildcards.scan].participant),
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_desc-preproc_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_desc-preproc_{{suffix}}.json",
    log:
        f"{ROOT}/logs/preprocess/{{folder}}/{{scan}}_{{suffix}}_normalise.log",
    benchmark:
        f"{ROOT}/benchmarks/preprocess/{{folder}}/{{scan}}_{{suffix}}_normalise.tsv"
    wildcard_constraints:
        scan=r"(?!\S*_space-)sub-[^/]+",
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("standardise"),
        runtime=minutes("standardise"),
    params:
        version=PREPROCESSING_VERSION,
        settings={key: PREPROCESS[key] for key in ("spacing", "normalize")},
        multiple=SAME,
        scale=SAME,
    script:
        "../workflow/scripts/standardise.py"
