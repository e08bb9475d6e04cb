"""Splits by participant, frozen in one table.

1. splits  who trains, validates and tests, in every fold
"""


rule splits:
    """The frozen split; participants whose pair was excluded are left out, nobody else moves."""
    input:
        pairs=rules.cohort.output.pairs,
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
    script:
        "../workflow/scripts/splits.py"
