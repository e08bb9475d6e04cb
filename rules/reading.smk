"""A blinded reading, only on demand: `snakemake reader_study`.

1. reading_set  pairs of images under names that say nothing, a sheet to fill in, and the key
"""

READING_PAIRS = reading_pairs(config)
READ = sorted({name for pair in READING_PAIRS for name in pair})


rule reading_set:
    """Images of the test participants for readers who must not know what they see."""
    input:
        images=[read_image(name, participant) for participant in STUDY.tested for name in READ],
        masks=[STUDY.mask(read_scans(participant)[0]) for participant in STUDY.tested],
        sidecars=[sidecar(STUDY.preprocessed(scan)) for participant in STUDY.tested for scan in read_scans(participant)],
    output:
        key=f"{ROOT}/reader_study/key.csv",
        readers=directory(f"{ROOT}/reader_study/for_readers"),
    log:
        f"{ROOT}/logs/reading/reading_set.log",
    benchmark:
        f"{ROOT}/benchmarks/reading/reading_set.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=memory("reading_set"),
        runtime=minutes("reading_set"),
    params:
        participants=[(participant, len(read_scans(participant))) for participant in STUDY.tested],
        names=READ,
        pairs=READING_PAIRS,
        settings={key: config["reader_study"][key] for key in ("skull_stripped", "seed")},
    script:
        "../workflow/scripts/reading_set.py"
