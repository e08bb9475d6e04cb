"""What jobs are planned to cost, before any of them has run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upfield.commands.dry import Job

TRAINING = "train_model"


def training_hours(config: Mapping[str, Any], device: str) -> float:
    """Hours of one training on a `device`, cpu or cuda: as configured, or what plans are made for."""
    from upfield.plan.decide import HOURS

    return float(config["train"]["hours"] or HOURS[device])


def minutes(job: "Job", hours: float) -> float:
    """Minutes of a job, of which a training takes so many `hours`."""
    from upfield.step import TIME_MARGIN

    # What is asked for has a margin, and is for networks of published size.
    return hours * 60 if job.rule == TRAINING else job.minutes / TIME_MARGIN
