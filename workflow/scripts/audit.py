"""Adapter of rule audit."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import audit
    from upfield.files import write_tsv

    params = snakemake.params
    summary, structures = audit.audit(
        dict(zip(params.methods, snakemake.input.predictions, strict=True)),
        dict(zip(params.uncertain, snakemake.input.deviations, strict=True)),
        snakemake.input.truth,
        snakemake.input.mask,
        snakemake.output.maps,
        sidecars=snakemake.input.sidecars,
        participant=snakemake.wildcards.participant,
        fold=params.fold,
        seeds=params.seeds,
    )
    write_tsv(snakemake.output.summary, summary)
    write_tsv(snakemake.output.structures, structures)
