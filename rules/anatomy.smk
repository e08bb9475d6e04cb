"""A segmenter that learns from label maps alone.

1. train_segmenter  its network, resumed from its checkpoint if it was interrupted
"""

ANATOMY = segmenters.of(config)

STEP = step(
    "study.anatomy.train",
    "train/anatomy",
    kind="training",
    gpus=gpus,
    # Not more at the next attempt, which continues where this one stopped.
    minutes=TRAINING,
)


rule train_segmenter:
    """The segmenter and its history; checkpoints lie beside them."""
    input:
        train_maps=ANATOMY.maps()["train"],
        val_maps=ANATOMY.maps()["val"],
    output:
        **{name: PATHS(kind) for name, kind in segmenters.FILES.items()},
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/model.yaml"
    threads: lambda wildcards, step=STEP: step.at_most("cpus", wildcards, step.threads)
    resources:
        **STEP.resources,
        slurm_extra=lambda wildcards, step=STEP: warning(step.at_most("minutes", wildcards, TRAINING)),
    params:
        **STEP.params,
        anatomy=ANATOMY.trained,
        ranges=config["simulate"]["ranges"],
    script:
        "../workflow/scripts/step.py"
