"""Adapter of rule cohort."""

from upfield.job import job

with job(snakemake):
    from upfield import bids, preprocess
    from upfield.files import write_tsv
    from upfield.study import Study

    study = Study(snakemake.config, rescan=False)
    used, excluded = preprocess.cohort(study.index.pairs, study.preprocessed, study.verdict)
    write_tsv(snakemake.output.pairs, bids.pairs_table(used))
    write_tsv(snakemake.output.excluded, bids.excluded_table([*study.index.excluded, *excluded]))
