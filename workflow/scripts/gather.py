"""Adapter of rule findings."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import tables
    from upfield.files import write_tsv

    for name, path in snakemake.output.items():
        write_tsv(path, tables.gathered(snakemake.input[name]))
