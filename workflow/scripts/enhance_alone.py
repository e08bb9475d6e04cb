"""Adapter of rule enhance_alone."""

from upfield.job import job

with job(snakemake):
    from upfield import predict

    predict.apply(
        snakemake.input.image,
        snakemake.input.mask,
        snakemake.input.preproc,
        snakemake.output.image,
        snakemake.params.folders,
        **snakemake.params.predict,
        **snakemake.params.train,
    )
