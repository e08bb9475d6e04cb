"""Adapter of rule to_template."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import template

    template.register(
        (snakemake.input.image, snakemake.input.mask),
        (snakemake.input.template, snakemake.input.template_mask),
        (snakemake.output.forward, snakemake.output.inverse),
        snakemake.params.settings,
        (snakemake.wildcards.role, snakemake.params.space),
    )
