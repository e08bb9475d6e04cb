"""Adapter of rule summarise."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import subject, tables, tissues
    from upfield.files import write_tsv

    tables = tables.summarise(
        tables.gathered([*snakemake.input.values, *snakemake.input.perceptual], subject.COLUMNS),
        tables.gathered(snakemake.input.own, subject.OWN),
        tables.gathered(snakemake.input.segmentations, tissues.SEGMENTATION),
        methods=snakemake.params.methods,
        baselines=snakemake.params.baselines,
        seed=snakemake.params.seed,
    )
    for name, path in snakemake.output.items():
        write_tsv(path, tables[name])
