"""Adapter of rule tissues."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import tissues

    tissues.segment_truth(
        snakemake.input.truth,
        snakemake.input.mask,
        snakemake.output.image,
        snakemake.params.suffix,
    )
