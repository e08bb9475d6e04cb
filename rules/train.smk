"""Training: one model per method, fold and seed, side by side.

1. train_model     a network, resumed from its checkpoint if it was interrupted
2. fit_histogram   the histogram-matching baseline: the training targets' mean distribution
"""

# Raised on purpose when a change of the code changes the weights; nothing else about the code reruns training.
TRAINING_VERSION = 1


rule train_model:
    """A network and its history; checkpoints and figures lie beside them."""
    input:
        train=stores("train"),
        val=stores("val"),
        sidecars=lambda wildcards: [
            sidecar(STUDY.preprocessed(scan)) for scan in STUDY.learned(wildcards.fold, STUDY.index)
        ],
        splits=rules.splits.output,
        start=lambda wildcards: STUDY.start(wildcards.method),
        features=lambda wildcards: STUDY.features(wildcards.method),
    output:
        model=f"{ROOT}/models/{{method}}/fold-{{fold}}_seed-{{seed}}/model.safetensors",
        card=f"{ROOT}/models/{{method}}/fold-{{fold}}_seed-{{seed}}/model.json",
        history=f"{ROOT}/models/{{method}}/fold-{{fold}}_seed-{{seed}}/history.tsv",
    log:
        f"{ROOT}/logs/train/{{method}}_fold-{{fold}}_seed-{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/train/{{method}}_fold-{{fold}}_seed-{{seed}}.tsv"
    wildcard_constraints:
        method="|".join(NETWORKS),
    conda:
        "../envs/model.yaml"
    threads: 8
    resources:
        mem_mb=memory("train_model"),
        # Not more at the next attempt, which continues where this one stopped: longer jobs may not be allowed to run.
        runtime=1440,
        gpu=lambda wildcards: gpus(wildcards) * config["train"]["processes"],
    params:
        version=TRAINING_VERSION,
        method=lambda wildcards: STUDY.method_settings(wildcards.method),
        train=lambda wildcards: STUDY.training(wildcards.method),
        patches=config["patches"],
    script:
        "../workflow/scripts/train_model.py"


rule fit_histogram:
    """Quantiles of the training targets."""
    input:
        train=stores("train", role="target"),
        splits=rules.splits.output,
    output:
        model=f"{ROOT}/models/histogram_match/fold-{{fold}}_seed-{{seed}}/model.safetensors",
        card=f"{ROOT}/models/histogram_match/fold-{{fold}}_seed-{{seed}}/model.json",
        history=f"{ROOT}/models/histogram_match/fold-{{fold}}_seed-{{seed}}/history.tsv",
    log:
        f"{ROOT}/logs/train/histogram_match_fold-{{fold}}_seed-{{seed}}.log",
    benchmark:
        f"{ROOT}/benchmarks/train/histogram_match_fold-{{fold}}_seed-{{seed}}.tsv"
    conda:
        "../envs/model.yaml"
    resources:
        mem_mb=memory("fit_histogram"),
        runtime=minutes("fit_histogram"),
    script:
        "../workflow/scripts/fit_histogram.py"
