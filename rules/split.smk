"""Splits by participant, frozen in one table.

1. splits  who trains, validates and tests, in every fold
"""


rule splits:
    """The frozen split; participants whose pair or scan was excluded are left out, nobody else moves."""
    input:
        excluded=rules.cohort.output.excluded,
    output:
        f"{ROOT}/splits.tsv",
    log:
        f"{ROOT}/logs/split/splits.log",
    benchmark:
        f"{ROOT}/benchmarks/split/splits.tsv"
    conda:
        "../envs/preprocess.yaml"
    resources:
        mem_mb=memory("splits"),
        runtime=minutes("splits"),
    params:
        assignment=SPLITS.values.tolist(),
        cohorts=STUDY.cohorts,
        together=STUDY.companions,
    script:
        "../workflow/scripts/splits.py"
