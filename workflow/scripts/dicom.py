"""Adapter of rule dicom."""

from upfield.job import job

with job(snakemake):
    from upfield.bids import dicom

    dicom.convert(snakemake.params.series, snakemake.output.image)
