"""Adapter of rule measure_harmonised."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import harmonized as unpaired
    from upfield.files import write_tsv

    table = unpaired.measure(
        dict(zip(snakemake.params.methods, snakemake.input.outputs, strict=True)),
        (snakemake.input.preprocessed, snakemake.input.mask),
        list(zip(snakemake.input.targets, snakemake.input.target_masks, strict=True)),
        participant=snakemake.wildcards.participant,
        suffix=snakemake.params.suffix,
        fold=snakemake.params.fold,
        seeds=snakemake.params.seeds,
    )
    write_tsv(snakemake.output[0], table)
