"""Adapter of rule quality_table."""

from upfield.job import job

with job(snakemake):
    from upfield.files import read_json, write_tsv
    from upfield.quality import judging

    write_tsv(snakemake.output[0], judging.table(list(map(read_json, snakemake.input)), snakemake.params.outlier))
