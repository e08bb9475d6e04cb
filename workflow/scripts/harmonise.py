"""Adapter of rule harmonise."""

from upfield.job import job

with job(snakemake):
    from upfield import predict, resources

    predict.harmonise(
        snakemake.params.method,
        snakemake.input,
        snakemake.output.image,
        **snakemake.params.predict,
        **snakemake.params.train,
        memory=resources.own(snakemake.resources.mem_mb),
    )
