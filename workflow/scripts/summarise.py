"""Adapter of rule summarise."""

from upfield.job import job

with job(snakemake):
    import pandas as pd
    from upfield import statistics
    from upfield.files import read_tsv, write_tsv

    values = pd.concat([read_tsv(path) for path in snakemake.input.participants], ignore_index=True)
    params = snakemake.params
    write_tsv(snakemake.output.per_subject, values)
    write_tsv(snakemake.output.leaderboard, statistics.leaderboard(values, params.seed))
    write_tsv(snakemake.output.comparisons, statistics.comparisons(values, params.methods, params.baselines))
