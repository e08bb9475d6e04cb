"""The quality stage of one pair, from files to a file."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from upfield.bids import sidecar
from upfield.errors import ScanError
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.preprocess.derivatives import excluded
from upfield.quality import judging, pair, scan
from upfield.quality.judging import PAIR, SIDES
from upfield.step import step


@step(version=2, memory=(350, 60), minutes=(0.3, 0.03))
def assess(
    decision: str,
    store: str,
    suffixes: Mapping[str, str],
    thresholds: Mapping[str, Any],
    source: str | None = None,
    source_mask: str | None = None,
    target: str | None = None,
    target_mask: str | None = None,
    transform: str | None = None,
    template_mask: str | None = None,
    to_template: str | None = None,
) -> None:
    """Measure and judge one pair or one scan: JSON with the metrics of `source`, `target` and `pair`, and the decision.

    Parameters
    ----------
    decision
        Where it is written: `Findings` lists what is beyond a threshold; `Excluded` holds the reason, and `Role` whose
        it is, if the pair may not be used.
    store
        The name of the pair or scan.
    suffixes
        The contrast of each side, as BIDS names it.
    thresholds
        The `qc.thresholds` of a study.
    source, source_mask, target, target_mask, transform
        Bias-corrected, native; one side alone where there is no pair.
    template_mask, to_template
        Where the study has a template: its brain, and the transform of the target.

    A scan without a brain has no metrics, and neither has its pair.

    """
    found: dict[str, dict[str, float]] = {SIDES[0]: {}, SIDES[1]: {}, PAIR: {}}
    brains = {}
    for side, path, brain in ((SIDES[0], source, source_mask), (SIDES[1], target, target_mask)):
        if path is None or brain is None:
            continue
        image, mask = nifti.load(path), nifti.load_mask(brain)
        if mask.data.any():
            found[side] = scan.metrics(image, mask.data, suffixes[side])
            brains[side] = pair.brain(image, mask)
    if len(brains) == 2 and transform is not None and excluded(transform) is None:
        try:
            # Without registration the mirrored source is turned at will: the right one need not be.
            kind = read_json(sidecar(transform))["Transform"].replace("none", "rigid")
            moves = nifti.read_transform(transform)
            found[PAIR] = pair.metrics(brains["source"], brains["target"], moves, kind)
            if to_template is not None and excluded(to_template) is None:
                mask, template = nifti.load_mask(str(target_mask)), nifti.load_mask(str(template_mask))
                there = nifti.read_transform(to_template)
                found[PAIR]["template_dice"] = pair.template_dice(mask, template, there)
        except ScanError as error:
            logging.warning("%s: the pair is not measured: %s", store, error)
    findings = judging.judge(found, thresholds)
    # JSON has no NaN: what could not be measured is null.
    result: dict[str, Any] = {
        "participant_id": store,
        **{role: {name: value if np.isfinite(value) else None for name, value in values.items()}
           for role, values in found.items()},
        "Findings": findings,
    }  # fmt: skip
    write_json(decision, result | judging.verdict(findings))
