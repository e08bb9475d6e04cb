"""What is asked of single scans, in studies and by `snakemake apply` alike."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from upfield import bids
from upfield.bids import Scan
from upfield.bids.layout import Layout
from upfield.evaluate import atlas
from upfield.image.transforms import EXTENSIONS
from upfield.preprocess import template
from upfield.study import resources
from upfield.study.designs import Design


def root_of(config: Mapping[str, Any]) -> str:
    """The folder of a study."""
    return f"{config['output_dir']}/{config['study']}"


def grid_alone(preprocess: Mapping[str, Any], keeps_contrast: bool) -> dict[str, Any]:
    """The working grid and the intensities of a scan without its target, as `prepare` takes them.

    What undoes an acquisition makes thin slices of thick ones: its voxels are cubes, where otherwise thick slices stay.
    """
    spacing = preprocess["spacing"]
    return {"spacing": [spacing] * 3 if keeps_contrast else spacing, "normalize": preprocess["normalize"]}


class Scans:
    """The scans of a study by their names, and the files of each."""

    scans: dict[str, Scan]
    # Whether networks here give the contrast that they are shown, whatever it is.
    keeps_contrast: bool = False

    def __init__(self, config: Mapping[str, Any], design: Design) -> None:
        self.config, self.design = config, design
        self.root = root_of(config)
        settings = config["preprocess"]["template"]
        self.template = template.files(settings, self.root) if template.given(settings) else None
        # The space in which pairs meet: `target`, or the label of a template's.
        self.space = "target" if self.template is None else template.space(settings)
        self.paths = Layout(self.root, space=self.space)
        # Of the files of transforms between source and target, and between target and template.
        self.warp_extension = EXTENSIONS[config["preprocess"]["registration"]["transform"]]
        self.template_extension = EXTENSIONS[settings["transform"]]

    @property
    def adds_change(self) -> bool:
        """Whether a network's output is the native scan and the change that the network made, see `predict`."""
        return self.design.adds_change

    def native(self, scan: Scan) -> str:
        """The scan as acquired, as the average of its acquisitions, or as simulated."""
        return self.design.native(self.paths, scan)

    def brain(self, scan: Scan) -> dict[str, Any]:
        """How a scan's brain is found: `preprocess.brain`, and what its side changes of it."""
        return {**self.config["preprocess"]["brain"], **(self.config[scan.role]["brain"] or {})}

    def region(self, scan: Scan) -> str:
        """The mask of what is enhanced of a scan, on its own grid: of its brain, or of its head."""
        kind = {"brain": "mask", "head": "head"}[self.config["preprocess"]["region"]]
        return self.paths(kind, scan)

    def brain_files(self, scan: Scan) -> list[str]:
        """What brain extraction needs besides the scan: masks, or the template for `template`."""
        settings = self.brain(scan)
        if settings["method"] == "template":
            return [settings["template"], settings["mask"]]
        acquired = self.acquired(scan)
        if settings["method"] == "none" and acquired is not scan:
            return [self.paths("mask", acquired)]
        if settings["method"] != "mask":
            return []
        return bids.brain_masks(acquired, self.config[acquired.role]["bids_dir"], settings["derivatives"])

    def contrasts(self, scan: Scan) -> Sequence[Scan]:
        """The scans that networks are shown beside a source scan, itself among them: the first is what is enhanced."""
        raise NotImplementedError

    def to_first(self, scan: Scan | None = None) -> str:
        """Transform of a further contrast to the first, found without a target; without a scan the pattern of it."""
        return self.paths("transform", scan, start="source", end="first", extension=EXTENSIONS["rigid"])

    def from_first(self, scan: Scan | None = None) -> str:
        """And back."""
        return self.paths("transform", scan, start="first", end="source", extension=EXTENSIONS["rigid"])

    def acquired(self, scan: Scan) -> Scan:
        """The scan that a scan is made from, if it is; else the scan."""
        return scan

    def to_template(self, scan: Scan) -> str:
        """Transform of a target (or of a scan without one) to the template."""
        names = {"start": scan.role, "end": self.space}
        return self.paths("transform", scan, extension=self.template_extension, **names)

    def from_template(self, scan: Scan) -> str:
        """And back."""
        names = {"start": self.space, "end": scan.role}
        return self.paths("transform", scan, extension=self.template_extension, **names)

    @cached_property
    def megavoxels(self) -> dict[str, float]:
        """Each participant's largest image, on its own grid or the working grid, in millions of voxels."""
        sizes = dict[str, float]()
        for scan in self.scans.values():
            size = resources.megavoxels(scan.shape, scan.voxel, self.size_spacing)
            sizes[scan.participant] = max(size, sizes.get(scan.participant, 0.0))
        return sizes

    def working_grid(self, target: Scan) -> tuple[list[int], list[float]]:
        """Voxels of a target on the working grid, of the whole image, and their size in mm; empty if not known yet."""
        spacing = self.size_spacing
        if isinstance(spacing, str) or not target.shape:
            return list(target.shape), list(target.voxel)
        extent = [count * size for count, size in zip(target.shape, target.voxel, strict=True)]
        return [round(edge / spacing) for edge in extent], [spacing] * 3

    @property
    def size_spacing(self) -> float | str:
        """Voxels of the working grid, in mm, or `native`, by which the size of images is estimated."""
        spacing: float | str = self.config["preprocess"]["spacing"]
        return spacing

    @property
    def grid_alone(self) -> dict[str, Any]:
        """See the function of this name."""
        return grid_alone(self.config["preprocess"], self.keeps_contrast)

    def atlas(self, participant: str) -> list[str]:
        """The user's label image of a participant, or of the template, if there is one."""
        pattern = self.config["evaluate"]["atlas"]["images"]
        path = atlas.image_of(pattern, participant) if pattern else ""
        return [path] if path and Path(path).is_file() else []
