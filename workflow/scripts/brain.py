"""Adapter of rule brain."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import stage as preprocess

    preprocess.extract_brain(
        snakemake.input.scan, snakemake.output.image, snakemake.params.settings, snakemake.input.given
    )
