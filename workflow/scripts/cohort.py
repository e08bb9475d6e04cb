"""Adapter of rule cohort."""

from upfield.job import job

with job(snakemake):
    from upfield import bids
    from upfield.files import write_tsv
    from upfield.preprocess import stage as preprocess
    from upfield.study.study import Study

    study = Study(snakemake.config, rescan=False)
    if study.unpaired:
        used, excluded = preprocess.cohorts(
            study.index.used,
            {study.pair_name(pair): pair for pair in study.index.pairs},
            (study.preprocessed, study.on_pair),
            study.verdict,
        )
    else:
        used, excluded = preprocess.cohort(study.index.pairs, study.preprocessed, study.verdict)
    write_tsv(snakemake.output.pairs, bids.pairs_table(used))
    write_tsv(snakemake.output.excluded, bids.excluded_table([*study.index.excluded, *excluded]))
