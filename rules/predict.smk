"""Prediction: every test participant by every method, on the target's native grid in real intensities.

1. interpolate  the baselines without a network, straight from the native source
2. enhance      the networks: whole volume or sliding window, mean over seeds and samples and their spread, native grid
"""


rule interpolate:
    """identity, spline or histogram_match: one interpolation from the native source to the native target."""
    input:
        unpack(pair_files),
        models=model_files,
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.json",
    log:
        f"{ROOT}/logs/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.log",
    benchmark:
        f"{ROOT}/benchmarks/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.tsv"
    wildcard_constraints:
        label=labels(networks=False),
    group:
        "evaluate"
    conda:
        "../envs/model.yaml"
    resources:
        mem_mb=memory("interpolate"),
        runtime=minutes("interpolate"),
    params:
        method=lambda wildcards: STUDY.labels[wildcards.label],
    script:
        "../workflow/scripts/interpolate.py"


rule enhance:
    """A trained model's output for one test participant."""
    input:
        unpack(pair_files),
        models=model_files,
        network_input=lambda wildcards: STUDY.network_input(STUDY.scans[wildcards.scan], STUDY.labels[wildcards.label]),
    output:
        image=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.nii.gz",
        sidecar=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}_{{suffix}}.json",
    log:
        f"{ROOT}/logs/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.log",
    benchmark:
        f"{ROOT}/benchmarks/predict/{{folder}}/{{scan}}_{{label}}_{{suffix}}.tsv"
    wildcard_constraints:
        label=labels(networks=True, spread=False),
    group:
        "enhance_{label}"
    conda:
        "../envs/model.yaml"
    threads: 2
    resources:
        mem_mb=memory("enhance"),
        runtime=minutes("enhance"),
        gpu=gpus,
        in_turn=1,
    params:
        method=lambda wildcards: STUDY.labels[wildcards.label],
        inference=INFERENCE,
        samples=0,
    script:
        "../workflow/scripts/enhance.py"


if STUDY.uncertain:

    # Several seeds, or samples with dropout.
    use rule enhance as enhance_with_spread with:
        output:
            image=rules.enhance.output.image,
            sidecar=rules.enhance.output.sidecar,
            std=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}std_{{suffix}}.nii.gz",
            std_sidecar=f"{ROOT}/{{folder}}/{{scan}}_space-target_desc-{{label}}std_{{suffix}}.json",
        wildcard_constraints:
            label=labels(networks=True, spread=True),
        resources:
            mem_mb=memory("enhance"),
            runtime=minutes("enhance", lambda wildcards: STUDY.outputs(STUDY.labels[wildcards.label])),
            gpu=gpus,
            in_turn=1,
        params:
            method=lambda wildcards: STUDY.labels[wildcards.label],
            inference=INFERENCE,
            samples=lambda wildcards: STUDY.samples(STUDY.labels[wildcards.label]),
