"""Adapter of rule calibrate."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import calibration
    from upfield.files import write_tsv

    pairs = zip(snakemake.input.predictions, snakemake.input.deviations, strict=True)
    table = calibration.measure(
        dict(zip(snakemake.params.methods, pairs, strict=True)),
        snakemake.input.truth,
        snakemake.input.mask,
        sidecars=snakemake.input.sidecars,
        participant=snakemake.wildcards.participant,
        fold=snakemake.params.fold,
    )
    write_tsv(snakemake.output[0], table)
