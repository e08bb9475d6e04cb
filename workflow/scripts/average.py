"""Adapter of rule average."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import average

    average.average(snakemake.input, snakemake.output.image, snakemake.params.seed)
