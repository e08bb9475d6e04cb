"""The steps that write reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upfield.bids import person
from upfield.files import read_tsv
from upfield.report import narrative
from upfield.report.applied import build_applied
from upfield.report.context import Enhanced
from upfield.report.page import build
from upfield.report.subject import SubjectImages
from upfield.report.validation import build_validation
from upfield.step import step
from upfield.study import splits
from upfield.study.application import Application
from upfield.study.designs.base import PAIR
from upfield.study.provenance import record
from upfield.study.validation import Validation


@step(version=1, memory=(600, 1), minutes=(0.3, 0.01))
def html_report(report: str, images: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> None:
    """Write the report of a study; `images` are the files of each test participant to show, by the names of them.

    Who was excluded after the study was planned is not shown: in place of an output there is the source as it is.
    """
    root = Path(report).parents[1]
    frozen, excluded = read_tsv(root / "splits.tsv"), read_tsv(root / "excluded.tsv")
    left = set(frozen["participant_id"])
    # Of somebody with several pairs, one of which is left.
    lost = set(excluded.loc[(excluded["stage"] != "ingest") & (excluded["role"] != PAIR), "participant_id"])
    build(
        root,
        Path(report),
        config=config,
        provenance=record(config, splits.fingerprint(frozen)),
        images=[
            _shown(**files)
            for files in images
            if person(files["participant_id"]) in left and files["participant_id"] not in lost
        ],
        narrative=narrative.of(config),
    )


def _shown(
    participant_id: str,
    outputs: Mapping[str, str],
    uncertainties: Mapping[str, str],
    reference: str | None,
    mask: str,
) -> SubjectImages:
    return SubjectImages(
        participant_id=participant_id,
        source=Path(outputs["identity"]),
        target=None if reference is None else Path(reference),
        mask=Path(mask),
        outputs={method: Path(path) for method, path in outputs.items()},
        uncertainties={method: Path(path) for method, path in uncertainties.items()},
    )


@step(version=0, memory=(600, 1), minutes=(0.3, 0.01))
def applied_report(table: str, report: str, config: Mapping[str, Any]) -> None:
    """Write the report of a trained model that was applied; `table` is applied.tsv."""
    application = Application(config, rescan=False)
    rows = read_tsv(table)
    wanted = set(rows.loc[rows["status"] == "applied", "path"])
    scans = [
        Enhanced(
            scan.key,
            Path(application.paths("corrected", scan)),
            Path(application.paths("mask", scan)),
            Path(application.enhanced(scan)),
        )
        for scan in application.scans.values()
        if scan.path in wanted
    ]
    build_applied(
        Path(application.root),
        Path(report),
        config=config,
        provenance=record(config, application.cards[0]["split_sha"]),
        narrative=narrative.of({**config, "phantom": None}),
        applied=rows,
        scans=scans[: config["report"]["subjects"]],
        cards=application.cards,
        training_range=application.training_range,
    )


@step(version=1, memory=(600, 1), minutes=(0.3, 0.01))
def validation_report(
    applied: str, report: str, images: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> None:
    """Write the report of a model that was measured on other data; `applied` is applied.tsv, `images` as above.

    Who is excluded is not shown.
    """
    study = Validation(config, rescan=False)
    rows = read_tsv(applied)
    left = set(rows.loc[rows["status"] == "applied", "participant_id"])
    build_validation(
        Path(study.root),
        Path(report),
        config=config,
        provenance=record(config, study.cards[0].get("split_sha", "n/a")),
        narrative=narrative.of(config),
        applied=rows,
        images=[_shown(**files) for files in images if files["participant_id"] in left],
        cards=study.cards,
        training_range=study.training_range,
    )
