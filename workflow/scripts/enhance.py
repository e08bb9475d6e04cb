"""Adapter of rule enhance."""

from upfield.job import job

with job(snakemake):
    from upfield import predict, resources

    predict.enhance(
        snakemake.params.method,
        snakemake.input,
        snakemake.output.image,
        std=snakemake.output.get("std"),
        **snakemake.params.predict,
        **snakemake.params.train,
        memory=resources.own(snakemake.resources.mem_mb),
    )
