"""Adapter of rule prepare."""

from upfield.job import job

with job(snakemake):
    from upfield import preprocess

    preprocess.prepare(
        snakemake.input.image,
        snakemake.input.mask,
        snakemake.output.image,
        snakemake.params.settings,
        snakemake.params.typical,
        tuple(snakemake.params.scale),
    )
