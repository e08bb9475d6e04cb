"""Adapter of rule inventory."""

from upfield.job import job

with job(snakemake):
    from upfield import bids
    from upfield.files import write_text, write_tsv
    from upfield.study.study import Study

    study = Study(snakemake.config, rescan=False)
    write_tsv(snakemake.output.inventory, bids.inventory_table(study.described()))
    bids.write_description(snakemake.output.description, study.config)
    write_text(snakemake.output.ignore, bids.IGNORED)
    if study.series:
        bids.describe_converted(f"{study.root}/sourcedata/raw", study.config["study"])
