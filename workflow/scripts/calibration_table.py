"""Adapter of rule calibration."""

from upfield.job import job

with job(snakemake):
    import pandas as pd
    from upfield.files import read_tsv, write_tsv

    write_tsv(snakemake.output[0], pd.concat(map(read_tsv, snakemake.input), ignore_index=True))
