"""The one adapter between rules and the library: it runs the step that a rule's params name."""

from upfield.step import run

run(snakemake)
