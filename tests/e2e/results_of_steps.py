"""What steps write, as a few numbers that can be kept: other bytes need another version, or nobody makes them again.

Numbers are compared with room for other processors, whose sums are rounded otherwise; of trained networks, where that
grows, only names and shapes are kept. `UPFIELD_WRITE_RESULTS=1 pytest tests/e2e/test_workflow.py -k results` writes
the kept ones anew.
"""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from safetensors.numpy import load_file
from upfield.files import read_json, read_tsv

# Files of the balls study by the step that writes them.
FILES = {
    "study.steps.inventory": ["inventory.tsv"],
    "study.steps.cohort": ["pairs.tsv", "excluded.tsv"],
    "study.steps.freeze_splits": ["splits.tsv"],
    "preprocess.masks.extract_brain": ["sub-0[123]/*/anat/*_desc-brain_mask.nii.gz"],
    "preprocess.bias.correct_bias": ["sub-0[123]/*/anat/*_desc-biascorr_T1w.nii.gz"],
    "preprocess.register.register": ["sub-0[123]/*/anat/*_xfm.json"],
    "preprocess.standardize.standardize": ["sub-0[123]/*/anat/*_desc-preproc_T1w.nii.gz"],
    "quality.stage.assess": ["qc/participants/sub-0[123].json"],
    "quality.judging.write_table": ["qc/quality.tsv"],
    "patches.store.extract": ["patches/*.safetensors"],
    "study.steps.train_model": ["models/unet3d*/*/model.safetensors"],
    "study.steps.fit_histogram": ["models/histogram_match/*/model.safetensors"],
    "study.steps.fit_denoise": ["models/denoise/*/model.safetensors"],
    "predict.interpolate.interpolate": ["sub-*/*/anat/*_space-target_desc-[dish][edpi]*_T1w.nii.gz"],
    "study.steps.typical_targets": ["models/targets_fold-0.json"],
    "predict.apply.prepare_tested": ["sub-*/*/anat/*_desc-alone_T1w.nii.gz"],
    "predict.apply.rescale": ["sub-*/*/anat/sub-??_ses-low_desc-[dih][dei]*_T1w.nii.gz"],
    "evaluate.summary.write_as_applied": ["metrics/as_applied.tsv", "metrics/as_applied_leaderboard.tsv"],
    "evaluate.as_others_count.measure": ["metrics/as_others_count/sub-0?.tsv"],
    "evaluate.as_others_count.summarise": ["metrics/as_others_count_leaderboard.tsv"],
    "evaluate.tissues.segment_reference": ["sub-*/*/anat/*_desc-tissues_dseg.nii.gz"],
    "evaluate.subject.measure": ["metrics/participants/sub-0?.tsv", "metrics/participants/sub-0?_truth.tsv"],
    "evaluate.tissues.segment_outputs": ["metrics/participants/sub-0?_tissues.tsv"],
    "evaluate.summary.write_tables": ["metrics/leaderboard.tsv", "metrics/comparisons.tsv", "metrics/ranks.tsv"],
}  # fmt: skip
NETWORKS = ("unet3d", "unet3d_patchgan")


def of(path: Path) -> dict[str, Any]:
    """Names and numbers of one file."""
    if path.name.endswith(".nii.gz"):
        image = nib.load(path)
        data = image.get_fdata()
        return {"shape": list(data.shape), "affine": _numbers(image.affine), "values": _summary(data)}
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        if path.parts[-3] in NETWORKS:
            return {name: list(value.shape) for name, value in sorted(tensors.items())}
        return {name: _summary(value) for name, value in sorted(tensors.items())}
    if path.suffix == ".tsv":
        table = read_tsv(path)
        if "method" in table:
            table = table[~table["method"].isin(NETWORKS)]
        means = table.select_dtypes("number").drop(columns="bytes", errors="ignore").mean()
        return {"columns": list(table.columns), "rows": len(table), "means": _numbers(means)}
    return {"keys": sorted(_keys(read_json(path)))}


def differ(kept: Any, found: Any) -> bool:
    """Whether names, or numbers by more than a thousandth, differ."""
    if isinstance(kept, dict) and isinstance(found, dict):
        return set(kept) != set(found) or any(differ(kept[key], found[key]) for key in kept)
    if isinstance(kept, list) and isinstance(found, list) and all(isinstance(x, int | float) for x in kept + found):
        return len(kept) != len(found) or not np.allclose(kept, found, rtol=2e-3, atol=1e-4, equal_nan=True)
    return bool(kept != found)


def _summary(values: Any) -> list[float]:
    values = np.asarray(values, dtype=np.float64)
    if not values.size:
        return []
    return _numbers([values.mean(), values.std(), *np.percentile(values, (5, 25, 50, 75, 95))])


def _numbers(values: Any) -> list[float]:
    return [0.0 if pd.isna(value) else float(f"{value:.6g}") for value in np.ravel(np.asarray(values, dtype=float))]


def _keys(value: Any, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [key for name, inner in value.items() for key in _keys(inner, f"{prefix}.{name}".lstrip("."))]
