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
        rules.apply.input if APPLYING else rules.report.input,


rule propose_site:
    """The user's site file, from what Slurm says of itself; nothing is submitted."""
    message:
        "Slurm is asked, and a site file written."


# With the profile of Slurm, every run looks first.
onstart:
    if workflow.is_main_process and workflow.executor_plugin.name == "slurm":
        try:
            if "propose_site" in workflow.dag_settings.targets:
                look.write_proposal(logger)
            else:
                look.look(workflow, SITE, ROOT, TRAINING, WORST_CASE, logger, WorkflowError)
        except UpfieldError as error:
            raise WorkflowError(str(error)) from None
        if {"check_site", "propose_site"} & set(workflow.dag_settings.targets):
            sys.exit(0)
