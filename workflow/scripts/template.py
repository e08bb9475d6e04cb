"""Adapter of rule template."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import template

    template.fetch(snakemake.params.name, snakemake.output.image, snakemake.output.mask)
