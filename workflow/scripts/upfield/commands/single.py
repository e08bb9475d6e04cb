"""One scan and a trained model, without a study: the steps of `snakemake apply`, one after the other."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from upfield.bids import Scan, dicom, sidecar
from upfield.bids.sidecars import beside
from upfield.catalogue.weights import keeps_contrast
from upfield.errors import ScanError, UpfieldError
from upfield.files import atomic, merged, read_json, write_json
from upfield.image import nifti
from upfield.image.formats import split
from upfield.predict import training_range
from upfield.predict.apply import enhance_alone
from upfield.preprocess import template
from upfield.preprocess.bias import correct_bias
from upfield.preprocess.derivatives import MARK, excluded
from upfield.preprocess.head import find_head
from upfield.preprocess.masks import extract_brain
from upfield.preprocess.standardize import prepare
from upfield.report import narrative
from upfield.report.applied import build_applied
from upfield.report.context import Enhanced
from upfield.study import config, designs
from upfield.study.application import COLUMNS, check_weights, read_card
from upfield.study.provenance import record
from upfield.study.scans import grid_alone

# Suffix of a scan whose name says none: only names of files hang on it.
UNKNOWN = "T1w"


@dataclass(frozen=True)
class Model:
    """A trained model that works on one scan by itself: its folder and card."""

    folder: Path
    card: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Model":
        """Raises UpfieldError, one line, if the folder holds no usable model, or one that needs more than a scan."""
        card = read_card(str(folder))
        check_weights(str(folder))
        if len(card.get("channels", [])) > 1:
            names = ", ".join(card["channels"])
            raise UpfieldError(f"{folder} takes several contrasts ({names}); use snakemake apply")
        model = cls(folder, card)
        if template.given(model.preprocess["template"]):
            raise UpfieldError(f"{folder} works in the space of a template; use snakemake apply")
        return model

    @cached_property
    def preprocess(self) -> dict[str, Any]:
        """How scans are prepared: what the card says, the usual for what cards of older versions do not."""
        found: dict[str, Any] = merged(config.defaults()["preprocess"], self.card["preprocess"])
        return found


@dataclass(frozen=True)
class Done:
    """What was written for a scan, and what to be careful about."""

    output: Path
    page: Path
    warnings: list[str]


def enhance(given: Path, output: Path, model: Model, inference: Mapping[str, Any], stripped: bool = False) -> Done:
    """Enhance one scan, a NIfTI file or the folder of a DICOM series; write image, sidecar and page.

    Parameters
    ----------
    output
        The image; the sidecar (.json) and the page (.html) have its name.
    inference
        How networks are run, see `predict.models.Inference`.
    stripped
        Whether the scan is skull-stripped: its brain is what is above 0.

    Raises ScanError, one line, for a scan that cannot be used.

    """
    with tempfile.TemporaryDirectory() as folder:
        suffix = suffix_of(given)
        files = {name: f"{folder}/{name}_{suffix}.nii.gz" for name in ("scan", "corrected", "prepared", "output")}
        files |= {name: f"{folder}/{name}_mask.nii.gz" for name in ("brain", "head")}
        metadata = _taken(given, files["scan"])
        settings = model.preprocess
        extract_brain(files["scan"], files["brain"], {**settings["brain"], **({"method": "none"} if stripped else {})})
        correct_bias(files["scan"], files["brain"], files["corrected"], settings["n4"])
        region = None
        if settings["region"] == "head":
            region = files["head"]
            find_head(files["corrected"], files["brain"], region)
        typical = model.card["domain"]["target"]["voxel"]
        grid = grid_alone(settings, keeps_contrast(model.card))
        scale = model.card["scale"]
        prepare(files["corrected"], files["brain"], files["prepared"], grid, typical, scale, region=region)
        reason = excluded(files["prepared"])
        if reason is not None:
            raise ScanError(reason)
        scan = Scan("n/a", "source", str(given), "", split(given)[0], suffix, metadata=metadata)
        facts = read_json(sidecar(files["prepared"]))
        warnings = training_range.check(scan, facts, model.card["domain"], keeps_contrast(model.card))
        enhance_alone(
            files["corrected"],
            files["brain"],
            [files["prepared"]],
            [str(model.folder / "model.safetensors")],
            files["output"],
            inference,
            adds_change=designs.known()[model.card["pairing"]].adds_change,
            region=region,
        )
        said = read_json(sidecar(files["output"])) | {"Sources": [given.name], "Warnings": warnings}
        with atomic(output) as temporary:
            shutil.copyfile(_packed(files["output"], output, folder), temporary)
        write_json(sidecar(output), said)
        page = _page(scan, files, output, model, warnings)
    return Done(output, page, warnings)


def suffix_of(path: Path) -> str:
    """The BIDS suffix that a name ends with, such as T2w; `UNKNOWN` if it ends with none."""
    last = split(path)[0].rsplit("_", 1)[-1]
    return last if last.isalnum() and last[0].isupper() and "-" not in last else UNKNOWN


def _taken(given: Path, path: str) -> dict[str, Any]:
    """Bring a scan to `path`; returns what its sidecar says. Raises ScanError if it cannot be used."""
    if given.is_dir():
        dicom.convert(given, path)
        fields: dict[str, Any] = read_json(sidecar(path))
        if MARK in fields:
            raise ScanError(str(fields[MARK]))
        return fields
    nifti.save(nifti.load_scan(given), path)
    return dict(beside(sidecar(given)))


def _packed(made: str, output: Path, folder: str) -> str:
    """The image packed as its new name says."""
    if output.name.endswith(".gz"):
        return made
    plain = f"{folder}/plain.nii"
    nifti.save(nifti.load(made), plain)
    return plain


def _page(scan: Scan, files: Mapping[str, str], output: Path, model: Model, warnings: list[str]) -> Path:
    """The page of one scan: input beside output, warnings, the model."""
    card, usual = model.card, config.defaults()
    settings = usual | {
        "study": scan.name, "model": str(model.folder), "pairing": card["pairing"], "preprocess": model.preprocess,
        "simulate": usual["simulate"] | (card.get("simulate") or {}), "phantom": None,
    }  # fmt: skip
    row = ("n/a", "n/a", scan.key, scan.path, "applied", "; ".join(warnings) or None, None, output.name)
    page = output.with_name(f"{split(output)[0]}.html")
    build_applied(
        output.parent,
        page,
        config=settings,
        provenance=record(settings, card.get("split_sha", "n/a")),
        narrative=narrative.of(settings),
        applied=pd.DataFrame([row], columns=list(COLUMNS)),
        scans=[Enhanced(scan.key, Path(files["corrected"]), Path(files["brain"]), Path(files["output"]))],
        cards=[card],
        training_range=training_range.joined([card["domain"]]),
    )
    return page
