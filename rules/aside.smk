"""What lies in the folder of a study and is not of it any more.

1. move_aside  moved out of the way of other tools, with a table of it
"""

STEP = step("study.outputs.put_aside", "ingest/move_aside-{turn}")


rule move_aside:
    """Files of other participants, splits, methods or options under .upfield/aside; nothing is deleted."""
    output:
        listing=PATHS("aside"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    wildcard_constraints:
        turn=r"\d+",
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
    script:
        "../workflow/scripts/step.py"
