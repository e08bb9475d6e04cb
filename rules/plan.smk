"""Plans: what a method is trained with, from the training data of a fold and the memory of the device.

1. write_plan  settings that the study leaves to the plan, with the reason for each, and what training will cost
"""

STEP = step("plan.stage.write_plan", "plan/{method}_fold-{fold}")


rule write_plan:
    """The plan of a method for a fold."""
    input:
        training_sidecars,
        train_stores=stores("train"),
        sources=training_images("source"),
        targets=training_images("target"),
    output:
        plan=PATHS("plan"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        method="|".join(STUDY.methods.planned) or "(?!)",
    conda:
        "../envs/model.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        **planned_grid(),
        settings=lambda wildcards: STUDY.methods.settings(wildcards.method),
        train={key: config["train"][key] for key in ("device", "memory", "hours", "precision", "processes")},
        cores=lambda wildcards: TRAIN.computes_with(config),
        job=lambda wildcards: steps.own_memory(TRAIN.mem_mb(size(wildcards))),
    script:
        "../workflow/scripts/step.py"


# Snakemake does not say yet whether this is a dry run, and who trains wants to know it too.
if workflow.is_main_process:
    try:
        for line in plans_foreseen():
            logger.info(line)
    except UpfieldError as error:
        raise WorkflowError(str(error)) from None
