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
        # Of what the job asked for, Snakemake around it takes its share.
        memory=2**20 * (snakemake.resources.mem_mb - resources.SNAKEMAKE),
    )
