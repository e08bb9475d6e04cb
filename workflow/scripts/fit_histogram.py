"""Adapter of rule fit_histogram."""

from upfield.job import job

with job(snakemake):
    from pathlib import Path

    from upfield.files import read_tsv
    from upfield.study import splits
    from upfield.study.provenance import record
    from upfield.training.run import fit_histogram

    card = record(snakemake.config, splits.fingerprint(read_tsv(snakemake.input.splits[0])))
    fit_histogram(
        Path(snakemake.output.model).parent,
        stores=snakemake.input.train,
        card={"fold": snakemake.wildcards.fold, "seed": int(snakemake.wildcards.seed)} | card,
    )
