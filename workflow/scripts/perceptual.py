"""Adapter of rule perceptual."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import perceptual
    from upfield.files import write_tsv

    table = perceptual.measure(
        dict(zip(snakemake.params.methods, snakemake.input.predictions, strict=True)),
        snakemake.input.truth,
        snakemake.input.mask,
        snakemake.input.weights,
        sidecars=snakemake.input.sidecars,
        participant=snakemake.wildcards.participant,
        fold=snakemake.params.fold,
        seeds=snakemake.params.seeds,
        run_on=snakemake.params.device,
    )
    write_tsv(snakemake.output[0], table)
