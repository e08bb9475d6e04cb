"""Adapter of rule segment."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import tissues
    from upfield.files import write_tsv

    table = tissues.segment_outputs(
        dict(zip(snakemake.params.methods, snakemake.input.predictions, strict=True)),
        snakemake.input.truth,
        snakemake.input.mask,
        snakemake.input.tissues,
        sidecars=snakemake.input.sidecars,
        participant=snakemake.wildcards.participant,
        fold=snakemake.params.fold,
        seeds=snakemake.params.seeds,
        suffix=snakemake.params.suffix,
    )
    write_tsv(snakemake.output[0], table)
