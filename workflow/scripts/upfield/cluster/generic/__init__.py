"""Clusters without Slurm: jobs are submitted, looked at and cancelled with the programs of PBS, Grid Engine or LSF.

Snakemake's plugin cluster-generic calls `profiles/generic/submit`, `status` and `cancel`, which are `__main__.py` here.
They start for every job: what they import is light.
"""
