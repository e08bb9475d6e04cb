"""Adapter of rule train_model."""

from upfield.job import job

with job(snakemake):
    from pathlib import Path

    from upfield import splits
    from upfield.files import read_tsv
    from upfield.provenance import record
    from upfield.report.figures import write_triptych
    from upfield.training.run import train_model

    folder = Path(snakemake.output.model).parent
    train_model(
        folder,
        method=snakemake.wildcards.method,
        version=snakemake.params.version,
        settings=snakemake.params.method,
        train=snakemake.params.train | {"seed": int(snakemake.wildcards.seed)},
        patches=snakemake.params.patches,
        stores={"train": snakemake.input.train, "val": snakemake.input.val},
        card={"fold": snakemake.wildcards.fold}
        | record(snakemake.config, splits.fingerprint(read_tsv(snakemake.input.splits[0]))),
        preview=lambda epoch, panels: write_triptych(folder / "figures" / f"epoch-{epoch:04d}.png", panels),
    )
