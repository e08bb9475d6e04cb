"""Adapter of rule export."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import export
    from upfield.files import read_tsv, write_text

    values = read_tsv(snakemake.input[0])
    for method, path in zip(snakemake.params.methods, snakemake.output, strict=True):
        table = export.lohiresgan(values, method, snakemake.params.files[method])
        write_text(path, table.to_csv(index=False, float_format="%.9g"))
