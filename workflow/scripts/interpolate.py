"""Adapter of rule interpolate."""

from upfield.job import job

with job(snakemake):
    from upfield.predict import outputs as predict

    predict.interpolate(snakemake.params.method, snakemake.input, snakemake.output.image)
