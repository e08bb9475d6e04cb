"""The intensity curve of an external method, fitted on its outputs for training participants."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from upfield.errors import ScanError
from upfield.image import intensity, nifti
from upfield.image.nifti import mask_on
from upfield.preprocess import external
from upfield.preprocess.derivatives import require_usable, scaling_of
from upfield.training import curves


@dataclass(frozen=True)
class Pair:
    """Files of a pair and of what another program made of its source.

    `source_mask` and `target_mask` are native brain masks; `space` and `normalization` are the method's and the
    study's; `key` is the configuration's of the method.
    """

    participant: str
    output: str
    source_mask: str
    source_preprocessed: str
    target: str
    target_mask: str
    target_preprocessed: str
    transform: str
    space: str | None
    normalization: str
    key: str

    @cached_property
    def usable(self) -> bool:
        """Whether neither scan is excluded, and the output is an image of the brain; the log says if it is not."""
        try:
            require_usable(self.source_preprocessed, self.target_preprocessed, self.output)
            self.sample()
        except ScanError as error:
            logging.warning("%s: the curve is fitted without %s (%s)", self.key, self.participant, error)
            return False
        return True

    def sample(self) -> dict[tuple[Any, ...], curves.Sample]:
        """The voxels of the target's brain in the output and in the target, both normalized."""
        target, brain = nifti.load(self.target), nifti.load_mask(self.target_mask)
        source_brain, moves = nifti.load_mask(self.source_mask), nifti.read_transform(self.transform)
        output = nifti.load(self.output, finite=True)
        moved = external.placed(output, source_brain, brain, moves, self.space, self.key).volume
        suffix = Path(self.target).name.split(".")[0].rsplit("_", 1)[-1]
        own = intensity.fit(moved.data, mask_on(source_brain, brain.grid, moves), self.normalization, suffix)
        wanted = scaling_of(self.target_preprocessed).apply(target.data)
        least, most = intensity.robust_range(wanted, brain.data)
        return {(): (own.apply(moved.data)[brain.data], wanted[brain.data], most - least)}


def fit_external(
    folder: Path, method: str, *, train: Sequence[Pair], val: Sequence[Pair], card: Mapping[str, Any]
) -> None:
    """Write the curve from normalized outputs to normalized targets as a model folder; see `curves.fit`."""
    curves.fit(
        folder, method=method, parts={"train": train, "val": val}, candidates=[()], names=(), samples=Pair.sample,
        card=card,
    )  # fmt: skip
