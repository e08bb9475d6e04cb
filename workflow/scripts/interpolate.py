"""Adapter of rule interpolate."""

from upfield.job import job

with job(snakemake):
    from upfield import predict

    predict.interpolate(snakemake.params.method, snakemake.input, snakemake.output.image)
