"""Adapter of rule simulate."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import stage as preprocess

    preprocess.simulate(
        snakemake.input[0], snakemake.output.image, snakemake.params.settings, snakemake.params.participant
    )
