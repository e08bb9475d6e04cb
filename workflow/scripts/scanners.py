"""Adapter of rule scanners."""

from upfield.job import job

with job(snakemake):
    import pandas as pd
    from upfield.evaluate import harmonized as unpaired
    from upfield.files import read_tsv, write_tsv

    values = pd.concat([read_tsv(path) for path in snakemake.input.participants], ignore_index=True)
    table, cohorts = unpaired.scanners(
        values, read_tsv(snakemake.input.splits[0]), snakemake.params.together, snakemake.params.seed
    )
    write_tsv(snakemake.output.appearance, table)
    write_tsv(snakemake.output.harmonisation, cohorts)
