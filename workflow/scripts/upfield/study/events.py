"""What a run tells the command that started it: its jobs, and which of them begin, end and fail; JSON, a line each."""

import json
import logging
import os
from typing import Any, TextIO

# Number of the file that is written to, in the environment of Snakemake.
VARIABLE = "UPFIELD_EVENTS"
# Snakemake's names of events, and ours.
NAMES = {"job_info": "began", "job_finished": "ended", "job_error": "failed"}


class Events(logging.Handler):
    """Hands on which of Snakemake's jobs begin, end and fail."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(logging.INFO)
        self.file = file

    def tell(self, **said: Any) -> None:
        """Write a line. Nobody may listen any more; then nothing is told."""
        try:
            print(json.dumps(said), file=self.file, flush=True)
        except (OSError, ValueError):
            self.setLevel(logging.CRITICAL + 1)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of an event of a job; others are none of ours."""
        fields = vars(record)
        name = NAMES.get(str(fields.get("event")).rpartition(".")[2].lower())
        if name is not None:
            number = fields.get("jobid", fields.get("job_id"))
            self.tell(event=name, job=number, log=[str(path) for path in fields.get("log") or []])


def begin(workflow: Any, log: Any) -> None:
    """Tell which jobs a run has, and follow them, if somebody asked for it; `workflow` and `log` are Snakemake's."""
    # Jobs inherit the environment, and not the file.
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return
    events = Events(os.fdopen(int(number), "w", encoding="utf-8"))
    jobs = [_job(workflow.dag, job) for job in workflow.dag.needrun_jobs() if job.benchmark is not None]
    events.tell(event="planned", jobs=jobs)
    log.addHandler(events)


def _job(dag: Any, job: Any) -> dict[str, Any]:
    asked = {key: job.resources.get(key) for key in ("mem_mb", "runtime")}
    return {
        "job": dag.jobid(job),
        "rule": job.rule.name,
        "benchmark": str(job.benchmark),
        "wildcards": {key: str(value) for key, value in job.wildcards_dict.items()},
        **{key: value if isinstance(value, int) else 0 for key, value in asked.items()},
    }
