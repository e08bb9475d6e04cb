"""For tests: ask Slurm every second. The executor waits ten seconds more after each look that found nothing new."""

import os

if "UPFIELD_POLL_SECONDS" in os.environ and "SLURM_JOB_ID" not in os.environ:
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    _seconds = RemoteExecutor.next_seconds_between_status_checks
    RemoteExecutor.next_seconds_between_status_checks = property(  # type: ignore[assignment, method-assign]
        lambda self: min(_seconds.fget(self), float(os.environ["UPFIELD_POLL_SECONDS"])), _seconds.fset
    )
