"""What keeps the plan and the run of a large study quick; nothing here decides what is made."""

# It replaces internals of one version of Snakemake, and nothing where that is another one or where this workflow is a
# module of another, whose own plan is not ours to change. Each replacement but the last buys more than 5 % of a dry run:
# `python benchmarks/planning.py --plain` says how much. The environment variable UPFIELD_PLAIN leaves out those that it
# names (`groups,gc`), or `all`.

import functools
import gc
import graphlib
import os
import threading

from snakemake import __version__ as snakemake_version
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

WRITTEN_FOR = "9.27.1"


def check_groups(dag):
    """Raise WorkflowError if a submission would wait for itself: one pass over all jobs.

    Snakemake looks, from each job of each group, through all that the job depends on. At a thousand participants that
    is more work than everything else together.
    """
    units = {job: dag.get_job_group(job) or job for job in dag.needrun_jobs()}
    graph = {unit: set() for unit in units.values()}
    for job, unit in units.items():
        graph[unit].update(units[other] for other in dag.job_dependencies(job) if units.get(other, unit) is not unit)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise WorkflowError(f"groups: {' needs '.join(str(unit) for unit in error.args[1])}") from None


def read_once(get):
    """The source of a rule's script, which Snakemake reads for each of its jobs, unless wildcards stand in its path."""
    known = {}

    def get_source(path, sourcecache, basedir=None, wildcards=None, params=None):
        key = str(path), str(basedir), wildcards is None
        if key not in known or "{" in key[0]:
            known[key] = get(path, sourcecache, basedir, wildcards, params)
        return known[key]

    return get_source


# Schedulers that a timer is about to wake.
WOKEN = set()


def look_again(scheduler, delay):
    """Have a scheduler look in so many seconds which jobs can start, by one timer at a time.

    Snakemake starts a timer at every look, and each of these looks starts one too: where jobs wait for a core, it looks
    a hundred times a second once a hundred have ended, through all that wait, and takes a core for itself.
    """

    def wake():
        # In this order: the look that follows may start the next timer.
        WOKEN.discard(scheduler)
        scheduler._open_jobs.release()

    if scheduler not in WOKEN:
        WOKEN.add(scheduler)
        timer = threading.Timer(delay, wake)
        # Nobody waits for it when all jobs have ended.
        timer.daemon = True
        timer.start()


# Each imports what it replaces, which another version may not have.


def replace_groups():
    from snakemake.dag import DAG

    DAG._check_groups = check_groups
    # The first half of the same check.
    DAG.validate_group = lambda dag, group: None


# What Snakemake works out again for each file or job although it does not change.


def replace_producers():
    from snakemake.output_index import OutputIndex

    OutputIndex.match_producers = functools.cache(OutputIndex.match_producers)


def replace_source():
    from snakemake import script

    script.get_source = read_once(script.get_source)


def replace_uri():
    import smart_open

    smart_open.parse_uri = functools.cache(smart_open.parse_uri)


def replace_params():
    from snakemake import common, rules

    rules.get_function_params = functools.cache(common.get_function_params)
    common.get_function_params = rules.get_function_params


def replace_gc():
    # Hundreds of thousands of objects come to stay: to look through them for garbage as often as usual takes a tenth of
    # the time.
    gc.set_threshold(100_000, 50, 100)


def replace_looks():
    from snakemake.scheduling.job_scheduler import JobScheduler

    JobScheduler._schedule_reevalutation = look_again


REPLACEMENTS = {
    "groups": replace_groups,
    "producers": replace_producers,
    "source": replace_source,
    "uri": replace_uri,
    "params": replace_params,
    "gc": replace_gc,
    "looks": replace_looks,
}


def quicken():
    left_out = os.environ.get("UPFIELD_PLAIN", "").split(",")
    for name, replace in REPLACEMENTS.items():
        if name not in left_out and "all" not in left_out:
            replace()


if snakemake_version != WRITTEN_FOR:
    if workflow.is_main_process:
        logger.info(f"Planning as Snakemake {snakemake_version} does; what quickens it is for {WRITTEN_FOR}.")
elif workflow.modifier.is_main_snakefile():
    quicken()
