"""Adapter of rule enhance."""

from upfield.job import job

with job(snakemake):
    from upfield.predict import outputs as predict
    from upfield.study import resources

    predict.enhance(
        snakemake.params.method,
        snakemake.input,
        snakemake.output.image,
        predict.Inference(**snakemake.params.inference, memory=resources.own(snakemake.resources.mem_mb)),
        samples=snakemake.params.samples,
        std=snakemake.output.get("std"),
    )
