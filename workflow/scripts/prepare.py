"""Adapter of rule prepare."""

from upfield.job import job

with job(snakemake):
    from upfield.preprocess import stage as preprocess

    preprocess.prepare(
        snakemake.input.image,
        snakemake.input.mask,
        snakemake.output.image,
        snakemake.params.settings,
        snakemake.params.typical,
        tuple(snakemake.params.scale),
        template_mask=snakemake.input.get("template_mask"),
        to_template=snakemake.input.get("to_template"),
    )
