"""What a model card says of its data, beside what the training says of itself."""

from typing import Any

from upfield import bids
from upfield.bids import Scan, sidecar
from upfield.files import read_json
from upfield.predict import training_range
from upfield.preprocess.derivatives import MARK, why_excluded
from upfield.simulation import degradation
from upfield.study import seen
from upfield.study.config import start_of
from upfield.study.study import Study


def card_of(study: Study, fold: str) -> dict[str, Any]:
    """How scans are prepared, and what the training scans of a fold were like.

    Reads the sidecars of the preprocessed training scans, which must exist. Raises UpfieldError if all are excluded.
    """
    config = study.config
    sources, targets = _described(study, fold)
    return {
        "phantom": config["phantom"] is not None,
        "pairing": study.design.name,
        "channels": bids.contrast_names(config["source"]),
        "simulate": degradation.used(config["simulate"]) if any(scan.simulated for scan, _ in sources) else None,
        "preprocess": {**config["preprocess"], "brain": _brain(study, sources[0][0])},
        "domain": training_range.describe(sources, targets),
    }


def _brain(study: Study, source: Scan) -> dict[str, Any]:
    """How the brain of a scan such as the sources is found: a side may have brains of its own kind.

    A simulated source may have the mask of its target, which other scans have not.
    """
    found = study.brain(source)
    return study.brain(study.acquired(source)) if found["method"] == "none" else found


def domain_of(study: Study, fold: str) -> dict[str, Any]:
    """The `domain` of `card_of` alone: what the training scans of a fold were like. Errors as there."""
    return training_range.describe(*_described(study, fold))


def _described(study: Study, fold: str) -> tuple[list[training_range.Described], list[training_range.Described]]:
    """Sources and targets that a fold's models learn from, each with the sidecar of its preprocessed image."""
    used = study.training_scans(fold, study.described())
    described: list[training_range.Described] = [(scan, _facts(study, scan)) for scan in used]
    source, target = ([one for one in described if one[0].role == side] for side in ("source", "target"))
    return source, target


def seen_by(study: Study, fold: str, method: str) -> dict[str, Any]:
    """Whom and what a fold's model of a method sees, and has seen where it starts from; for the end of its card.

    Reads the scans of training and validation that planning has not read. Raises UpfieldError if the model to start
    from has seen a test scan.
    """
    index = study.described()
    start = start_of(study.config, method)
    if start is not None:
        seen.check_start(method, start, study.scans_of(fold, index, "test"), images=True)
    used = [scan for scan in study.scans_of(fold, index, "train", "val") if MARK not in _facts(study, scan)]
    card = None if start is None else seen.start_card(start)
    return {seen.KEY: seen.record(used, study.config["phantom"] is not None, card)}


def _facts(study: Study, scan: Scan) -> dict[str, Any]:
    """The sidecar of a preprocessed scan; it is excluded with its whole pair, from which nothing is learned."""
    facts: dict[str, Any] = read_json(sidecar(study.preprocessed(scan)))
    reason = why_excluded(study.preprocessed(one) for one in study.judged_scans(scan.participant))
    return facts if reason is None else {**facts, MARK: reason}
