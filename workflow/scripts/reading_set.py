"""Adapter of rule reading_set."""

from upfield.job import job

with job(snakemake):
    from pathlib import Path

    from upfield.evaluate.reading import Reading, reading_set

    params, inputs = snakemake.params, snakemake.input
    images, sidecars = iter(inputs.images), iter(inputs.sidecars)
    people = [
        Reading(person, {name: next(images) for name in params.names}, mask, [next(sidecars) for _ in range(scans)])
        for (person, scans), mask in zip(params.participants, inputs.masks, strict=True)
    ]
    reading_set(people, params.pairs, Path(snakemake.output.key).parent, **params.settings)
