"""Adapter of rule bias."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import stage as preprocess

    preprocess.correct_bias(
        snakemake.input.image, snakemake.input.mask, snakemake.output.image, snakemake.params.enabled
    )
