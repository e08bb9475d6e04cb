"""A cluster with Slurm: what a site allows, what the planned jobs will ask of it, and whether the two fit."""
