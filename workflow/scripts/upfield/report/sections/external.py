"""Methods of others: what each is, how its outputs came to the target, who has none."""

from typing import Any

from upfield.report.context import StudyContext
from upfield.report.sections import Section
from upfield.study.external import SCALES


def applies(context: StudyContext) -> bool:
    """Whether there are any."""
    return bool(context.external)


def build(context: StudyContext) -> dict[str, Any]:
    """A row for each of them: `missing` are participants who are measured by other methods alone."""
    values = context.table["metrics/per_subject"]
    everybody = set(values["participant_id"])
    rows = [
        {
            "method": name,
            "title": found.called,
            "made": "command" if found.command else "predictions as files",
            "scale": SCALES[found.scale],
            "version": found.version or "not said",
            "reference": found.reference or "not said",
            "trained_on": len(found.trained_on),
            "missing": sorted(everybody - set(values.loc[values["method"] == name, "participant_id"])),
        }
        for name, found in context.external.items()
    ]
    return {"external": rows}


SECTION = Section(
    id="external", title="Methods of others", order=740, of=StudyContext, build=build, applies=applies,
)  # fmt: skip
