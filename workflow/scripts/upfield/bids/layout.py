"""Where every file of a study is: one table, which rules ask with wildcards and a study with its scans.

docs/outputs.md lists it (`python -m upfield.bids.layout`).
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upfield.bids.names import label, sidecar
from upfield.bids.scan import Scan


@dataclass(frozen=True)
class Kind:
    """One kind of file: its path below the study's folder, with names in braces, and what it is.

    `described` kinds have a JSON sidecar beside them.
    """

    template: str
    what: str
    described: bool = False


# A scan's files lie in its folder and begin with its name, `sub-<label>[_ses-<label>]...`.
SCAN = "{folder}/{scan}"

KINDS: Mapping[str, Kind] = {
    # -- the study
    "description": Kind("dataset_description.json", "what makes the folder a BIDS derivative dataset"),
    "ignore": Kind(".bidsignore", "what of it BIDS has no name for"),
    "index": Kind(".upfield/index.json", "the scans that were found, so that jobs need not look again"),
    "aside": Kind(".upfield/aside/{turn}/files.tsv", "what was put aside, beside it; not of the study any more"),
    "inventory": Kind("inventory.tsv", "every scan found, whether it is used, and why not"),
    "pairs": Kind("pairs.tsv", "every pair that is used; in unpaired studies every target"),
    "excluded": Kind("excluded.tsv", "every scan left out: in which stage, and why"),
    "splits": Kind("splits.tsv", "who trains, validates and tests, by fold"),
    # -- scans
    "converted": Kind("sourcedata/raw/{folder}/{image}.nii.gz", "the image of a DICOM series", described=True),
    "average": Kind(
        f"{SCAN}_desc-average_{{suffix}}.nii.gz",
        "the acquisitions of a session as one: their mean, or stacks combined",
        described=True,
    ),
    "simulated": Kind(f"{SCAN}_desc-simulated_{{suffix}}.nii.gz", "source made from its target", described=True),
    "mask": Kind(f"{SCAN}_desc-brain_mask.nii.gz", "brain mask, native grid", described=True),
    "head": Kind(f"{SCAN}_desc-head_mask.nii.gz", "head mask, native grid, with `region: head`", described=True),
    "corrected": Kind(f"{SCAN}_desc-biascorr_{{suffix}}.nii.gz", "bias-corrected, native grid", described=True),
    "transform": Kind(
        f"{SCAN}_from-{{start}}_to-{{end}}_mode-image_xfm{{extension}}",
        "transform between source and target, or target and template",
        described=True,
    ),
    "preprocessed": Kind(
        f"{SCAN}_space-{{space}}_desc-preproc_{{suffix}}.nii.gz",
        "cut to brain or head and normalized, on the working grid of its pair",
        described=True,
    ),
    "downsampled": Kind(
        f"{SCAN}_space-{{space}}_res-{{scale}}_desc-preproc_{{suffix}}.nii.gz",
        "the same on that grid coarsened by a method's scale",
        described=True,
    ),
    "preprocessed_alone": Kind(
        f"{SCAN}_desc-preproc_{{suffix}}.nii.gz",
        "cut to brain or head and normalized, on a working grid of its own",
        described=True,
    ),
    "prepared": Kind(
        f"{SCAN}_space-{{space}}_res-{{scale}}_desc-alone_{{suffix}}.nii.gz",
        "a test participant's source as `apply` prepares it, for methods of a scale",
        described=True,
    ),
    "external": Kind(
        "sourcedata/external/{method}/{folder}/{scan}_{suffix}.nii.gz",
        "what the program of an external method made of a source, as it left it",
        described=True,
    ),
    # -- quality control and patches
    "validation": Kind("qc/validation.tsv", "what the BIDS validator says of the datasets"),
    "quality": Kind("qc/participants/{store}.json", "measurements of a pair or scan, and the QC decision"),
    "picture": Kind("qc/figures/{store}_{picture}.webp", "brain masks and registration, to look at"),
    "contact_sheet": Kind("qc/contact_sheet-{sheet}.webp", "the pictures of up to forty pairs"),
    "quality_table": Kind("qc/quality.tsv", "all measurements, with outliers"),
    "store": Kind("patches/{store}.safetensors", "patch store of a pair or scan"),
    # -- models
    "plan": Kind(
        "models/{method}/fold-{fold}/plan.json", "what a method is trained with in a fold, why, and what it will cost"
    ),
    "model": Kind("models/{method}/fold-{fold}_seed-{seed}/model.safetensors", "weights"),
    "card": Kind("models/{method}/fold-{fold}_seed-{seed}/model.json", "model card: everything else about a model"),
    "history": Kind("models/{method}/fold-{fold}_seed-{seed}/history.tsv", "losses and validation by epoch"),
    "anatomy_model": Kind("models/anatomy/model.safetensors", "weights of the segmenter of `anatomy`"),
    "anatomy_card": Kind("models/anatomy/model.json", "its model card"),
    "anatomy_history": Kind("models/anatomy/history.tsv", "its losses, and the Dice of every structure, by epoch"),
    "typical": Kind(
        "models/targets_fold-{fold}.json",
        "what the training targets of a fold are like, as in model cards; `external`: those of a given model",
    ),
    # -- predictions
    "prediction": Kind(
        f"{SCAN}_space-target_desc-{{label}}_{{suffix}}.nii.gz",
        "a method's output, native grid and intensities of the target",
        described=True,
    ),
    "uncertainty": Kind(
        f"{SCAN}_space-target_desc-{{label}}std_{{suffix}}.nii.gz",
        "standard deviation of a prediction over seeds and samples",
        described=True,
    ),
    "sample": Kind(
        f"{SCAN}_space-target_desc-{{label}}sample_{{suffix}}.nii.gz",
        "one of the images that a sampler draws, as its mean is in the prediction",
        described=True,
    ),
    "enhanced": Kind(
        f"{SCAN}_desc-{{label}}_{{suffix}}.nii.gz",
        "a method's output on the scan's own grid (unpaired studies, applied models, outputs as applied)",
        described=True,
    ),
    "applied": Kind(
        "applied.tsv",
        "given models: every scan found (of pairs: every source), with warnings, and whether it was enhanced",
    ),
    # -- evaluation
    "tissues": Kind(f"{SCAN}_desc-tissues_dseg.nii.gz", "tissue classes of a target", described=True),
    "values": Kind("metrics/participants/{participant}.tsv", "metrics of a test participant"),
    "reference_values": Kind("metrics/participants/{participant}_truth.tsv", "those of the reference image itself"),
    "applied_values": Kind("metrics/as_applied/{participant}.tsv", "metrics of outputs as `apply` would deliver them"),
    "others_values": Kind("metrics/as_others_count/{participant}.tsv", "scores of papers and challenges"),
    "perceptual": Kind("metrics/participants/{participant}_lpips.tsv", "LPIPS of a test participant"),
    "segmentation": Kind("metrics/participants/{participant}_tissues.tsv", "tissues of outputs against the target's"),
    "harmonized_values": Kind(
        "metrics/participants/{participant}_harmonised.tsv", "what harmonization did to a test participant"
    ),
    "appearance": Kind("metrics/appearance/{participant}.tsv", "appearance of a scan and of what methods made of it"),
    "audit": Kind("metrics/audit/{participant}.tsv", "what stands out in the residuals of a test participant"),
    "structures": Kind("metrics/audit/{participant}_structures.tsv", "each structure that was added or removed"),
    "audit_maps": Kind("metrics/audit/{participant}", "folder with maps of these structures"),
    "lesions": Kind("metrics/lesions/{participant}.tsv", "synthetic lesions, and how much of each is left"),
    "perception": Kind("metrics/perception/{participant}.tsv", "how near and how sharp outputs and samples are"),
    "calibration": Kind("metrics/calibration/{participant}.tsv", "predicted standard deviation against error"),
    "table": Kind("metrics/{table}.tsv", "a table of all test participants"),
    "export": Kind("metrics/lohiresgan/{method}.csv", "a method's metrics in the columns of LoHiResGAN"),
    # -- for readers
    "report": Kind("report/index.html", "the report"),
    "reader_key": Kind("reader_study/key.csv", "reader study: which image is which"),
    "reader_images": Kind("reader_study/for_readers", "reader study: blinded images and the scoring sheet"),
    "log": Kind("logs/{job}.log", "what a job said"),
    "benchmark": Kind("benchmarks/{job}.tsv", "time and memory of a job"),
}


# Tables of metrics, in every kind of study.
TABLES = (
    "per_subject", "leaderboard", "comparisons", "ranks", "outliers", "quantities", "agreement", "definitions",
    "audit", "structures", "lesions", "calibration", "perception", "appearance", "harmonisation", "as_applied",
    "as_applied_leaderboard", "as_others_count", "as_others_count_leaderboard",
)  # fmt: skip

# After the label of a participant who has several pairs: what tells them apart.
ENTITIES = r"(?:_[a-z]+-[A-Za-z0-9]+)*"
# What a name in braces may be, as a regular expression; others are letters and digits.
NAMES: Mapping[str, str] = {
    "scan": r"sub-[^/]+",
    "image": r"[^/]+",
    "participant": rf"sub-[A-Za-z0-9]+{ENTITIES}",
    "session": r"ses-[A-Za-z0-9]+",
    "datatype": r"[a-z]+",
    "store": rf"(?:sub|pair)-[A-Za-z0-9-]+{ENTITIES}",
    "picture": r"[a-z-]+",
    "table": "|".join(TABLES),
    "method": r"[a-z0-9_]+",
    "seed": r"\d+",
    "sheet": r"\d+",
    "turn": r"\d+",
    "extension": r"\.[a-z.]+",
    "job": r".+",
}
FOLDERS = ("{participant}/{datatype}", "{participant}/{session}/{datatype}")


def kind_of(path: str, known: Mapping[str, Iterable[str]], kinds: Iterable[str] = tuple(KINDS)) -> str | None:
    """The first of some kinds that a file may be of, by its path below the study's folder; None if of none.

    `known` are the values that a name in braces can have, where not everything will do. Sidecars are of the kind of
    what they describe.
    """
    said = tuple((name, tuple(values)) for name, values in known.items())
    return next((kind for kind in kinds if any(_whole(parts).fullmatch(path) for parts in _parts(kind, said))), None)


def holds(path: str, known: Mapping[str, Iterable[str]], kinds: Iterable[str] = tuple(KINDS)) -> bool:
    """Whether a folder, by its path below the study's, is one that files of some kinds lie in; `known` as above."""
    said, found = tuple((name, tuple(values)) for name, values in known.items()), path.split("/")
    return any(
        len(found) < len(parts) and all(re.fullmatch(part, name) for part, name in zip(parts, found, strict=False))
        for kind in kinds
        for parts in _parts(kind, said)
    )


@functools.cache
def _whole(parts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("/".join(parts))


@functools.cache
def _parts(kind: str, known: tuple[tuple[str, tuple[str, ...]], ...]) -> list[tuple[str, ...]]:
    """Regular expressions of the folders and the name of a kind of file, and of its sidecar."""
    names = {**NAMES, **{name: "|".join(map(re.escape, values)) or "(?!)" for name, values in known}}
    template = KINDS[kind].template
    whole = [template]
    if KINDS[kind].described:
        whole.append(re.sub(r"(\.nii\.gz|\{extension\})$", ".json", template))
    return [
        tuple(_expression(part, names) for part in text.replace("{folder}", folder).split("/"))
        for text in whole
        for folder in (FOLDERS if "{folder}" in text else FOLDERS[:1])
    ]


def _expression(part: str, names: Mapping[str, str]) -> str:
    pieces: Iterator[str] = iter(re.split(r"\{(\w+)\}", part))
    result = re.escape(next(pieces))
    for name in pieces:
        result += f"(?:{names.get(name, '[A-Za-z0-9]+')}){re.escape(next(pieces))}"
    return result


class _Wildcards(dict[str, Any]):
    """Names that are not given stay as they are, in braces."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"


class Layout:
    """The paths of one study: `layout("mask", scan)`; without the scan, the pattern with its wildcards."""

    def __init__(self, root: str, **fixed: str) -> None:
        """`root` is the study's folder; `fixed` are names that have one value in the whole study, such as `space`."""
        self.root, self.fixed = root, fixed

    def __call__(self, kind: str, scan: Scan | None = None, **names: Any) -> str:
        """Path of a file. `names` fill the kind's braces, before those of the scan and the fixed ones."""
        known = _Wildcards(self.fixed)
        if scan is not None:
            known.update(folder=scan.folder, scan=scan.name, suffix=scan.suffix)
        known.update(names)
        if "method" in names and "label" not in names:
            known["label"] = label(names["method"])
        return f"{self.root}/{KINDS[kind].template.format_map(known)}"

    def both(self, kind: str, scan: Scan | None = None, **names: Any) -> tuple[str, str]:
        """The file and its sidecar."""
        path = self(kind, scan, **names)
        return path, str(sidecar(path))


def table() -> str:
    """The kinds as a table in Markdown: path, what it is."""
    rows = [
        f"| `{kind.template.replace('{', '<').replace('}', '>')}`{' and `.json`' if kind.described else ''} |"
        f" {kind.what} |"
        for kind in KINDS.values()
    ]
    return "\n".join(["| path | content |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
