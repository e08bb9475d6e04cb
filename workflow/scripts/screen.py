"""Adapter of checkpoint screen."""

from upfield.job import job

with job(snakemake):
    from upfield import bids
    from upfield.files import write_text, write_tsv
    from upfield.study.application import Application

    study = Application(snakemake.config, rescan=False)
    write_tsv(snakemake.output.table, study.screened())
    bids.write_description(snakemake.output.description, study.config)
    write_text(snakemake.output.ignore, bids.IGNORED)
