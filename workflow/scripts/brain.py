"""Adapter of rule brain."""

from upfield.job import job

with job(snakemake):
    from upfield import preprocess

    preprocess.extract_brain(snakemake.input[0], snakemake.output.image, snakemake.params.method)
