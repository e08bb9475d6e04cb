"""Adapter of rule patch_store."""

from upfield.job import job

with job(snakemake):
    from upfield import patches

    patches.extract(
        snakemake.input.get("source"),
        snakemake.input.get("target"),
        snakemake.input.mask,
        snakemake.output[0],
        {tuple(scale): path for scale, path in zip(snakemake.params.scales, snakemake.input.reduced, strict=True)},
    )
