"""Adapter of rule standardise."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import stage as preprocess

    preprocess.standardise(
        snakemake.input.image,
        snakemake.input.mask,
        snakemake.input.target_mask,
        snakemake.input.get("transform"),
        snakemake.output.image,
        snakemake.params.settings,
        multiple=tuple(snakemake.params.multiple),
        scale=tuple(snakemake.params.scale),
        verdict=snakemake.input.verdict,
        to_template=snakemake.input.get("to_template"),
    )
