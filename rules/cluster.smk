"""The cluster that jobs are sent to: what is to be submitted is held against it before anything is.

1. check_site    what a run would submit, each kind tried; nothing is submitted
2. propose_site  the user's site file, from what Slurm says of itself
"""


localrules:
    check_site,
    propose_site,


rule check_site:
    """What a run would submit, each kind tried; nothing is submitted."""
    input:
        (rules.anatomy if MAPS_ALONE else rules.apply if APPLYING else rules.report).input,


rule propose_site:
    """The user's site file, from what Slurm says of itself; nothing is submitted."""
    message:
        "Slurm is asked, and a site file written."
