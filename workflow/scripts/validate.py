"""Adapter of rule validate."""

from upfield.job import job

with job(snakemake):
    from upfield import bids
    from upfield.files import write_tsv

    write_tsv(snakemake.output[0], bids.validation_table(snakemake.params.datasets))
