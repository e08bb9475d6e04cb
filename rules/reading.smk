"""A blinded reader study, only on demand: `snakemake reader_study`.

1. reading_set  pairs of images under names that say nothing, a sheet to fill in, and the key
"""

from upfield.study.config import TRUTH

READING_PAIRS = reading_pairs(config)
READ = sorted({name for pair in READING_PAIRS for name in pair})


SHOWN_CASES = [shown_case(participant) for participant in STUDY.tested]

STEP = step("evaluate.reader_study.write_reader_study", "reading/reading_set")


rule reading_set:
    """Images of the test participants for readers who must not know what they see."""
    input:
        [[*said["outputs"].values(), said["mask"], *said["judged_by"]] for said in SHOWN_CASES],
    output:
        key=PATHS("reader_key"),
        readers=directory(PATHS("reader_images")),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    conda:
        "../envs/report.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        cases=SHOWN_CASES,
        compare=READING_PAIRS,
        skull_stripped=config["reader_study"]["skull_stripped"],
        seed=config["reader_study"]["seed"],
    script:
        "../workflow/scripts/step.py"
