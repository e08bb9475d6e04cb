"""Prediction: every test participant by every method, on the target's native grid in real intensities.

1. interpolate  the baselines without a network, straight from the native source
2. enhance      the networks: whole volume or sliding window, mean over seeds and samples, native grid
"""

STEP = step("predict.interpolate.interpolate", "predict/{folder}/{scan}_{label}_{suffix}")


rule interpolate:
    """identity, spline or histogram_match: one interpolation from the native source to the native target."""
    input:
        models("card"),
        behind_interpolation,
        unpack(lambda wildcards: pair_to_interpolate(scan_of(wildcards))),
        models=models("model"),
        judged_by=lambda wildcards: pair_judged_by(scan_of(wildcards)),
    output:
        PATHS.both("prediction")[1],
        prediction=PATHS("prediction"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        label=labels(lambda method: method in STUDY.methods.free),
    group:
        "evaluate"
    conda:
        "../envs/model.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        method=method_of,
    script:
        "../workflow/scripts/step.py"


STEP = step("predict.enhance.enhance", "predict/{folder}/{scan}_{label}_{suffix}", kind="prediction", gpus=gpus)


rule enhance:
    """A trained model's output for one test participant."""
    input:
        models("card"),
        behind_enhancement,
        unpack(lambda wildcards: pair_to_enhance(scan_of(wildcards))),
        network_input=lambda wildcards: STUDY.network_input(scan_of(wildcards), method_of(wildcards)),
        models=models("model"),
        judged_by=lambda wildcards: pair_judged_by(scan_of(wildcards)),
    output:
        PATHS.both("prediction")[1],
        prediction=PATHS("prediction"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        label=labels(lambda method: method in STUDY.methods.networks and method not in STUDY.methods.uncertain),
    group:
        "enhance_{label}"
    conda:
        "../envs/model.yaml"
    threads: STEP.threads
    resources:
        **STEP.resources,
        in_turn=1,
    params:
        **STEP.params,
        method=method_of,
        inference=INFERENCE,
        samples=0,
    script:
        "../workflow/scripts/step.py"


if STUDY.methods.uncertain:
    REPEATED = step(
        "predict.enhance.enhance",
        "predict/{folder}/{scan}_{label}_{suffix}",
        repeats=lambda wildcards: STUDY.methods.passes(method_of(wildcards)),
        kind="prediction",
        gpus=gpus,
    )

    SPREAD = [name for name in STUDY.methods.uncertain if name not in STUDY.methods.samplers]

    # Several seeds, or samples with dropout.
    use rule enhance as enhance_with_spread with:
        output:
            PATHS.both("prediction")[1],
            PATHS.both("uncertainty")[1],
            prediction=PATHS("prediction"),
            std=PATHS("uncertainty"),
        wildcard_constraints:
            label=labels(lambda method: method in SPREAD),
        resources:
            **REPEATED.resources,
            in_turn=1,
        params:
            **REPEATED.params,
            method=method_of,
            inference=INFERENCE,
            samples=lambda wildcards: STUDY.methods.samples(method_of(wildcards)),

    # And one of its samples, of a sampler.
    use rule enhance_with_spread as enhance_with_sample with:
        output:
            PATHS.both("prediction")[1],
            PATHS.both("uncertainty")[1],
            PATHS.both("sample")[1],
            prediction=PATHS("prediction"),
            std=PATHS("uncertainty"),
            sample=PATHS("sample"),
        wildcard_constraints:
            label=labels(lambda method: method in STUDY.methods.samplers),
