"""Adapter of rule harmonise."""

from upfield.job import job

with job(snakemake):
    from upfield import predict, resources

    predict.harmonise(
        snakemake.params.method,
        snakemake.input,
        snakemake.output.image,
        predict.Inference(**snakemake.params.inference, memory=resources.own(snakemake.resources.mem_mb)),
    )
