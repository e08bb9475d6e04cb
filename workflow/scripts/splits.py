"""Adapter of rule splits."""

from upfield.job import job

with job(snakemake):
    import pandas as pd
    from upfield.files import read_tsv, write_tsv
    from upfield.preprocess.X import PAIR
    from upfield.study import splits

    table = pd.DataFrame(snakemake.params.assignment, columns=splits.COLUMNS)
    excluded = read_tsv(snakemake.input.excluded)
    unpaired = any(snakemake.params.cohorts)
    # Two scans of an unpaired study that cannot be used together stay in their cohorts.
    fatal = excluded["stage"].isin(["preprocess", "qc"]) & ~(unpaired & (excluded["role"] == PAIR))
    lost = excluded[fatal]["participant_id"]
    kept = table[~table["participant_id"].isin(lost)].reset_index(drop=True)
    splits.check(kept)
    if unpaired:
        splits.check_cohorts(kept, snakemake.params.cohorts, snakemake.params.together)
    write_tsv(snakemake.output[0], kept)
