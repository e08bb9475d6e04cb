"""Adapter of rule quality_figures."""

from upfield.job import job

with job(snakemake):
    from upfield.report import gallery

    gallery.draw(dict(snakemake.input.items()), snakemake.output)
