"""Adapter of rule enhance_alone."""

from upfield.job import job

with job(snakemake):
    from upfield.predict import outputs as predict
    from upfield.study import resources

    predict.apply(
        snakemake.input.image,
        snakemake.input.mask,
        snakemake.input.preproc,
        snakemake.output.image,
        snakemake.params.folders,
        predict.Inference(**snakemake.params.inference, memory=resources.own(snakemake.resources.mem_mb)),
        from_template=snakemake.input.get("from_template"),
    )
