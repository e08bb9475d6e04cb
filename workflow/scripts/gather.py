"""Adapter of rule findings."""

from upfield.job import job

with job(snakemake):
    from upfield import evaluate
    from upfield.files import write_tsv

    for name, path in snakemake.output.items():
        write_tsv(path, evaluate.gathered(snakemake.input[name]))
