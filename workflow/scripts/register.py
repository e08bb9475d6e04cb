"""Adapter of rule register."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import stage as preprocess

    preprocess.register(
        (snakemake.input.source, snakemake.input.source_mask),
        (snakemake.input.target, snakemake.input.target_mask),
        (snakemake.output.forward, snakemake.output.inverse),
        snakemake.params.settings,
    )
