"""Adapter of rule splits."""

from upfield.job import job

with job(snakemake):
    import pandas as pd
    from upfield import splits
    from upfield.files import read_tsv, write_tsv

    table = pd.DataFrame(snakemake.params.assignment, columns=splits.COLUMNS)
    used = read_tsv(snakemake.input.pairs)["participant_id"]
    kept = table[table["participant_id"].isin(used)].reset_index(drop=True)
    splits.check(kept)
    write_tsv(snakemake.output[0], kept)
