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
        # Of what the job asked for, Snakemake around it takes its share.
        memory=2**20 * (snakemake.resources.mem_mb - resources.SNAKEMAKE),
    )
