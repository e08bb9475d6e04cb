"""Adapter of rule phantom_dataset."""

from upfield.job import job

with job(snakemake):
    from pathlib import Path

    from upfield.phantom import Phantom, write_dataset

    write_dataset(Path(snakemake.config["target"]["bids_dir"]), Phantom(**snakemake.params.settings))
