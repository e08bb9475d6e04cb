"""Adapter of rule train_model."""

from upfield.job import job

with job(snakemake):
    import sys
    from pathlib import Path

    from upfield.catalogue.methods import RUNTIME_OPTIONS
    from upfield.files import read_tsv
    from upfield.report.figures import write_triptych
    from upfield.study import splits
    from upfield.study.provenance import record
    from upfield.study.study import Study
    from upfield.training import processes
    from upfield.training.run import train_model

    # This very script, in each process.
    if not processes.launch(snakemake.config["train"]["processes"], sys.argv[0]):
        folder = Path(snakemake.output.model).parent
        # Not from `params`: another number of workers is no reason to train again.
        habits = {key: snakemake.config["train"][key] for key in RUNTIME_OPTIONS}
        train_model(
            folder,
            method=snakemake.wildcards.method,
            version=snakemake.params.version,
            settings=snakemake.params.method,
            train=snakemake.params.train | habits | {"seed": int(snakemake.wildcards.seed)},
            patches=snakemake.params.patches,
            stores={"train": snakemake.input.train, "val": snakemake.input.val},
            card={"fold": snakemake.wildcards.fold}
            | Study(snakemake.config, rescan=False).card(snakemake.wildcards.fold)
            | record(snakemake.config, splits.fingerprint(read_tsv(snakemake.input.splits[0]))),
            start=Path(snakemake.input.start[0]).parent if snakemake.input.start else None,
            features=[Path(path) for path in snakemake.input.features],
            preview=lambda epoch, panels: write_triptych(folder / "figures" / f"epoch-{epoch:04d}.png", panels),
        )
