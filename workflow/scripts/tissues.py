"""Adapter of rule tissues."""

from upfield.job import job

with job(snakemake):
    from upfield import evaluate

    evaluate.segment_truth(
        snakemake.input.truth,
        snakemake.input.mask,
        snakemake.output.image,
        snakemake.params.suffix,
    )
