"""Adapter of rule measure."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import subject
    from upfield.evaluate.atlas import region_names
    from upfield.evaluate.tissues import label_names
    from upfield.files import write_tsv

    values, own = subject.measure(
        dict(zip(snakemake.params.methods, snakemake.input.predictions, strict=True)),
        snakemake.input.truth,
        snakemake.input.mask,
        {path: label_names(path) for path in snakemake.input.labels}
        | {path: region_names(snakemake.params.names) for path in snakemake.input.atlas},
        sidecars=snakemake.input.sidecars,
        participant=snakemake.wildcards.participant,
        fold=snakemake.params.fold,
        seeds=snakemake.params.seeds,
        metrics=snakemake.params.metrics,
        threads=snakemake.threads,
        from_template=dict(zip(snakemake.input.atlas, snakemake.input.from_template, strict=False)),
    )
    write_tsv(snakemake.output.values, values)
    write_tsv(snakemake.output.own, own)
