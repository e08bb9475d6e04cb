"""Adapter of rule lesions."""

from upfield.job import job

with job(snakemake):
    from upfield.evaluate import lesions
    from upfield.files import write_tsv
    from upfield.predict.outputs import Inference
    from upfield.study import resources

    params, inputs = snakemake.params, snakemake.input
    pair = ("source", "source_mask", "target", "target_mask", "source_preproc", "target_preproc")
    found = dict(inputs.items())
    names = (*pair, "transform", "inverse", "to_template", "from_template")
    table = lesions.lesion_test(
        {name: found[name] for name in names if name in found},
        dict(zip(params.methods, inputs.predictions, strict=True)),
        params.models,
        params.network_inputs,
        sidecars=inputs.sidecars,
        participant=snakemake.wildcards.participant,
        fold=params.fold,
        seeds=params.seeds,
        seed=params.seed,
        run=Inference(**params.inference, memory=resources.own(snakemake.resources.mem_mb)),
    )
    write_tsv(snakemake.output[0], table)
