"""Adapter of rule appearance."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import harmonized as unpaired
    from upfield.files import write_tsv

    table = unpaired.appearance(
        dict(zip(snakemake.params.methods, snakemake.input.outputs, strict=True)),
        (snakemake.input.preprocessed, snakemake.input.mask),
        participant=snakemake.wildcards.participant,
        scanner=snakemake.params.scanner,
        suffix=snakemake.params.suffix,
    )
    write_tsv(snakemake.output[0], table)
