"""Adapter of rule applied_report."""

from upfield.job import job

with job(snakemake):
    from pathlib import Path

    from upfield.files import read_tsv
    from upfield.report import narrative
    from upfield.report.applied import Enhanced, build_applied
    from upfield.study.application import Application
    from upfield.study.provenance import record

    study = Application(snakemake.config, rescan=False)
    table = read_tsv(snakemake.input.table)
    wanted = set(table.loc[table["status"] == "applied", "path"])
    scans = [
        Enhanced(scan.key, Path(study.corrected(scan)), Path(study.mask(scan)), Path(study.enhanced(scan)))
        for scan in study.scans.values()
        if scan.path in wanted
    ]
    build_applied(
        Path(study.root),
        Path(snakemake.output[0]),
        config=snakemake.config,
        provenance=record(snakemake.config, study.cards[0]["split_sha"]),
        narrative=narrative.of({**snakemake.config, "phantom": None}),
        table=table,
        scans=scans[: snakemake.params.options["subjects"]],
        cards=study.cards,
        training_range=study.domain,
    )
