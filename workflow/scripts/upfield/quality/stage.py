"""The quality stage of one pair, from files to a file."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from upfield.bids import sidecar
from upfield.errors import ScanError
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.preprocess.stage import excluded
from upfield.quality import pair, scan, verdict
from upfield.quality.verdict import PAIR, SIDES


def assess(
    files: Mapping[str, str],
    output: str | Path,
    *,
    participant: str,
    suffixes: Mapping[str, str],
    thresholds: Mapping[str, Any],
) -> None:
    """Measure and judge one pair or one scan: JSON with the metrics of `source`, `target` and `pair`, and the verdict.

    Parameters
    ----------
    files
        `source`, `target` (bias-corrected, native), `source_mask`, `target_mask` and `transform`; or one side alone.
        `template_mask` and `to_template` (of the target), where the study has a template.
    suffixes
        The contrast of each side, as BIDS names it.
    thresholds
        The `qc.thresholds` of a study.

    A scan without a brain has no metrics, and neither has its pair. `Findings` lists what is beyond a threshold;
    `Excluded` holds the reason, and `Role` whose it is, if the pair may not be used.

    """
    found: dict[str, dict[str, float]] = {SIDES[0]: {}, SIDES[1]: {}, PAIR: {}}
    brains = {}
    for side in (side for side in SIDES if side in files):
        image, mask = nifti.load(files[side]), nifti.load_mask(files[f"{side}_mask"])
        if mask.data.any():
            found[side] = scan.metrics(image, mask.data, suffixes[side])
            brains[side] = pair.brain(image, mask)
    if len(brains) == 2 and excluded(files["transform"]) is None:
        try:
            # Without registration the mirrored source is turned at will: the right one need not be.
            kind = read_json(sidecar(files["transform"]))["Transform"].replace("none", "rigid")
            moves = nifti.read_transform(files["transform"])
            found[PAIR] = pair.metrics(brains["source"], brains["target"], moves, kind)
            if "to_template" in files and excluded(files["to_template"]) is None:
                mask, template = (nifti.load_mask(files[name]) for name in ("target_mask", "template_mask"))
                to_template = nifti.read_transform(files["to_template"])
                found[PAIR]["template_dice"] = pair.template_dice(mask, template, to_template)
        except ScanError as error:
            logging.warning("%s: the pair is not measured: %s", participant, error)
    findings = verdict.judge(found, thresholds)
    # JSON has no NaN: what could not be measured is null.
    result: dict[str, Any] = {
        "participant_id": participant,
        **{role: {name: value if np.isfinite(value) else None for name, value in values.items()}
           for role, values in found.items()},
        "Findings": findings,
    }  # fmt: skip
    fatal = next((row for row in findings if row["action"] == "exclude"), None)
    if fatal is not None:
        result |= {"Excluded": fatal["reason"], "Role": fatal["role"]}
    write_json(output, result)
