"""Prediction: every test participant by every method, on the target's native grid in real intensities.

1. interpolate  the baselines without a network, straight from the native source
2. enhance      the networks: whole volume or sliding window, mean over seeds and samples, native grid
"""


def method_of(wildcards):
    return STUDY.methods.by_label[wildcards.label]


def models(kind):
    """Weights or cards of the models of a method that never saw this participant."""
    return lambda wildcards: STUDY.models(method_of(wildcards), scan_of(wildcards).participant)[kind]


def predicted_pair(scan):
    """What a prediction is made from: the native pair, its transform, and the numbers of its normalization."""
    target = STUDY.pair_of(scan).target
    return {
        "source": PATHS("corrected", scan),
        "target": PATHS("corrected", target),
        "transform": STUDY.transform(scan),
        "target_preprocessed": PATHS("preprocessed", target),
    }


def pair_judged_by(scan):
    """What excludes a pair: the sidecars of its preprocessed scans, of all contrasts."""
    pair = STUDY.pair_of(scan)
    return [sidecar(PATHS("preprocessed", one)) for one in (*pair.sources, pair.target)]


# Snakemake makes a prediction again if its inputs are others than last time, each as often. Some are there for that
# alone: steps do not read them.
def behind_interpolation(wildcards):
    target = STUDY.pair_of(scan_of(wildcards)).target
    return [PATHS("mask", target), *moved_to_template(target, "from_template").values()]


def behind_enhancement(wildcards):
    scan = scan_of(wildcards)
    return [PATHS("mask", scan), PATHS("mask", STUDY.pair_of(scan).target), PATHS("preprocessed", scan)]


def pair_to_interpolate(scan):
    return predicted_pair(scan) | {
        "source_mask": PATHS("mask", scan),
        "source_preprocessed": PATHS("preprocessed", scan),
    }


def pair_to_enhance(scan):
    return predicted_pair(scan) | moved_to_template(STUDY.pair_of(scan).target, "from_template")


def labels(wanted):
    """Labels of the methods that are wanted, as a pattern."""
    return "|".join(name for name, method in STUDY.methods.by_label.items() if wanted(method)) or "none"


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
        label=labels(lambda method: method not in STUDY.methods.networks),
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


STEP = step("predict.enhance.enhance", "predict/{folder}/{scan}_{label}_{suffix}")


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
    threads: 2
    resources:
        **STEP.resources,
        gpu=gpus,
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
        repeats=lambda wildcards: STUDY.methods.outputs(method_of(wildcards)),
    )

    # Several seeds, or samples with dropout.
    use rule enhance as enhance_with_spread with:
        output:
            PATHS.both("prediction")[1],
            PATHS.both("uncertainty")[1],
            prediction=PATHS("prediction"),
            std=PATHS("uncertainty"),
        wildcard_constraints:
            label=labels(lambda method: method in STUDY.methods.networks and method in STUDY.methods.uncertain),
        resources:
            **REPEATED.resources,
            gpu=gpus,
            in_turn=1,
        params:
            **REPEATED.params,
            method=method_of,
            inference=INFERENCE,
            samples=lambda wildcards: STUDY.methods.samples(method_of(wildcards)),
