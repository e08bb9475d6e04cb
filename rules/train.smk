"""Training: one model per method, fold and seed, side by side.

1. train_model      a network, resumed from its checkpoint if it was interrupted
2. fit_histogram    the histogram-matching baseline: the training targets' mean distribution
3. fit_denoise      the denoising baseline: denoiser tuned on validation, curve fitted on training participants
4. typical_targets  one fold: what its training targets are like, as in the cards of its models
"""

STEP = step(
    "study.steps.train_model",
    "train/{method}_fold-{fold}_seed-{seed}",
    kind="training",
    gpus=lambda wildcards: gpus(wildcards) * config["train"]["processes"],
    # Not more at the next attempt, which continues where this one stopped.
    minutes=TRAINING,
)


rule train_model:
    """A network and its history; checkpoints and figures lie beside them."""
    input:
        training_sidecars,
        train_stores=stores("train"),
        val_stores=stores("val"),
        splits=PATHS("splits"),
        start=lambda wildcards: STUDY.methods.start(wildcards.method),
        maps=STUDY.methods.maps,
        features=lambda wildcards: STUDY.methods.features(wildcards.method),
        plan=lambda wildcards: (
            PATHS("plan", **dict(wildcards.items())) if wildcards.method in STUDY.methods.planned else []
        ),
    output:
        **model_files(),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        method="|".join(STUDY.methods.networks),
    conda:
        "../envs/model.yaml"
    threads: lambda wildcards, step=STEP: step.at_most("cpus", wildcards, step.threads)
    resources:
        **STEP.resources,
        slurm_extra=lambda wildcards, step=STEP: warning(step.at_most("minutes", wildcards, TRAINING)),
    params:
        **STEP.params,
        settings=lambda wildcards: STUDY.methods.settings(wildcards.method),
        train=lambda wildcards: STUDY.methods.training(wildcards.method),
        patches=config["patches"],
    script:
        "../workflow/scripts/step.py"


STEP = step("study.steps.fit_histogram", "train/histogram_match_fold-{fold}_seed-{seed}")


rule fit_histogram:
    """Quantiles of the training targets."""
    input:
        train_stores=stores("train", role="target"),
        splits=PATHS("splits"),
    output:
        **model_files(method="histogram_match"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/model.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
    script:
        "../workflow/scripts/step.py"


if "denoise" in STUDY.methods.names:
    STEP = step("study.steps.fit_denoise", "train/denoise_fold-{fold}_seed-{seed}")

    rule fit_denoise:
        """Denoiser and curve, of native pairs as they are interpolated."""
        input:
            behind_denoise,
            splits=PATHS("splits"),
        output:
            **model_files(method="denoise"),
        log:
            STEP.log,
        benchmark:
            STEP.benchmark
        conda:
            "../envs/model.yaml"
        resources:
            **STEP.resources,
        params:
            **STEP.params,
            train=pairs_to_fit("train"),
            val=pairs_to_fit("val"),
        script:
            "../workflow/scripts/step.py"


if STUDY.as_applied:

    STEP = step("study.steps.typical_targets", "train/targets_fold-{fold}")

    rule typical_targets:
        """Voxels and intensities of a fold's training targets."""
        input:
            training_sidecars,
            PATHS("splits"),
        output:
            typical=PATHS("typical"),
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
        script:
            "../workflow/scripts/step.py"
