"""Adapter of rule contact_sheet."""

from upfield.job import job

with job(snakemake):
    from upfield.report import sheet

    names, pictures = snakemake.params.names, list(snakemake.input)
    each = len(pictures) // len(names)
    sheet.contact_sheet(
        {name: pictures[number * each : (number + 1) * each] for number, name in enumerate(names)}, snakemake.output[0]
    )
