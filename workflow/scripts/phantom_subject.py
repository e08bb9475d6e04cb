"""Adapter of rule phantom_subject."""

from upfield.job import job

with job(snakemake):
    from pathlib import Path

    from upfield.phantom import Phantom, write_subject

    write_subject(
        Path(snakemake.config["target"]["bids_dir"]),
        int(snakemake.wildcards.number) - 1,
        Phantom(**snakemake.params.settings),
    )
