"""Adapter of rule html_report."""

from upfield.job import job

with job(snakemake):
    from pathlib import Path

    from upfield.files import read_tsv
    from upfield.report import narrative, page, subject
    from upfield.study import splits
    from upfield.study.provenance import record

    methods, participants = snakemake.params.methods, snakemake.params.participants
    uncertain, deviations = snakemake.params.uncertain, [Path(path) for path in snakemake.input.deviations]
    paths = [Path(path) for path in snakemake.input.images]
    images = [
        subject.SubjectImages(
            participant_id=participant,
            source=outputs["identity"],
            target=Path(snakemake.input.truths[number]) if snakemake.input.truths else None,
            mask=Path(snakemake.input.masks[number]),
            outputs=outputs,
            uncertainties=dict(zip(uncertain, deviations[number * len(uncertain) :], strict=False)),
        )
        for number, participant in enumerate(participants)
        for outputs in [dict(zip(methods, paths[number * len(methods) :], strict=False))]
    ]
    root = Path(snakemake.output[0]).parents[1]
    page.build(
        root,
        Path(snakemake.output[0]),
        config=snakemake.config,
        provenance=record(snakemake.config, splits.fingerprint(read_tsv(root / "splits.tsv"))),
        images=images,
        narrative=narrative.of(snakemake.config),
    )
