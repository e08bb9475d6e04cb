"""Splits by participant, frozen in one table.

1. splits  who trains, validates and tests, in every fold
"""

STEP = step("study.steps.freeze_splits", "split/splits")


rule splits:
    """The frozen split; participants whose pair or scan was excluded are left out, nobody else moves."""
    input:
        excluded=PATHS("excluded"),
    output:
        splits=PATHS("splits"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        # Who must be on one side together is a reason to split again.
        STUDY.design.cohorts(STUDY.index),
        STUDY.same_person,
        **STEP.params,
        assignment=STUDY.folds.table.values.tolist(),
    script:
        "../workflow/scripts/step.py"
