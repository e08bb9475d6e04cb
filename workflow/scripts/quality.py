"""Adapter of rule quality."""

from upfield.job import job

with job(snakemake):
    from upfield.quality import stage

    stage.assess(
        dict(snakemake.input.items()),
        snakemake.output[0],
        participant=snakemake.wildcards.store,
        suffixes=snakemake.params.suffixes,
        thresholds=snakemake.params.thresholds,
    )
