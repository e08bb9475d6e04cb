"""Adapter of rule brain."""

from upfield.job import job

with job(snakemake):
    from upfield import preprocess

    preprocess.extract_brain(
        snakemake.input.scan, snakemake.output.image, snakemake.params.settings, snakemake.input.given
    )
