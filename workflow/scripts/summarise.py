"""Adapter of rule summarise."""

from upfield.job import job

with job(snakemake):
    from upfield import evaluate
    from upfield.files import write_tsv

    tables = evaluate.summarise(
        evaluate.gathered([*snakemake.input.values, *snakemake.input.perceptual], evaluate.COLUMNS),
        evaluate.gathered(snakemake.input.own, evaluate.OWN),
        evaluate.gathered(snakemake.input.segmentations, evaluate.SEGMENTATION),
        methods=snakemake.params.methods,
        baselines=snakemake.params.baselines,
        seed=snakemake.params.seed,
    )
    for name, path in snakemake.output.items():
        write_tsv(path, tables[name])
