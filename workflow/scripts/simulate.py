"""Adapter of rule simulate."""

from upfield.job import job

with job(snakemake):
    from upfield import preprocess

    preprocess.simulate(
        snakemake.input[0], snakemake.output.image, snakemake.params.settings, snakemake.params.participant
    )
