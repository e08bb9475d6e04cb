"""Adapter of rule patch_store."""

from upfield.job import job

with job(snakemake):
    from upfield import patches

    # Contrast by contrast, every scale.
    scales, reduced = snakemake.params.scales, list(snakemake.input.reduced)
    patches.extract(
        list(snakemake.input.source),
        snakemake.input.get("target"),
        snakemake.input.mask,
        snakemake.output[0],
        {tuple(scale): reduced[number :: len(scales)] for number, scale in enumerate(scales)},
        snakemake.input.get("to_template"),
    )
