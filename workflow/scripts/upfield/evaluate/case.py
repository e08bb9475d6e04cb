"""One participant as evaluation sees it: what methods made of a scan, and what that is compared with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Union

from upfield.catalogue.methods import INTERPOLATION_ORDER
from upfield.errors import ScanError, UpfieldError
from upfield.image import nifti
from upfield.image.nifti import Array, Grid, Volume
from upfield.preprocess.derivatives import excluded, why_excluded

# A case as it stands in the params of a rule.
Said = Union["Case", Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """A participant's files, and what a row says of each method; images are read when they are asked for.

    All native images are on one grid, that of `mask`, the brain; outputs are moved there by a `transform`, if there is
    one.
    """

    participant: str
    mask: str
    # Output by method.
    outputs: Mapping[str, str]
    # The fold in which the participant is tested; empty for others.
    fold: str = ""
    # Of each trained method, those whose models were averaged.
    seeds: Mapping[str, Sequence[int]] = field(default_factory=dict)
    # The bias-corrected image that an output should have been, if there is one.
    reference: str | None = None
    # The preprocessed scan that the outputs were made from.
    source: str = ""
    # Standard deviation by method, of those that have one.
    uncertainties: Mapping[str, str] = field(default_factory=dict)
    # One sample by method, of those that draw some.
    samples: Mapping[str, str] = field(default_factory=dict)
    # Files that exclude the participant.
    judged_by: Sequence[str] = ()
    # The contrast, as file names say it.
    suffix: str = ""
    # From the outputs' own grids and world, that of the source, to those of `mask`; None where they are on its grid.
    transform: str | None = None

    @classmethod
    def of(cls, said: Said) -> "Case":
        """A case from the params of a rule, without outputs that cannot be used, as their sidecars say; or as it is."""
        if isinstance(said, Case):
            return said
        usable = {method: path for method, path in said["outputs"].items() if excluded(path) is None}
        return cls(**{**said, "outputs": usable})

    @property
    def excluded(self) -> str | None:
        """Why the participant is not measured; None if it is."""
        return why_excluded(self.judged_by)

    @cached_property
    def brain_mask(self) -> Volume:
        """The native brain mask, boolean."""
        return nifti.load_mask(self.mask)

    @property
    def brain(self) -> Array:
        """(X, Y, Z) boolean."""
        return self.brain_mask.data

    @cached_property
    def reference_image(self) -> Volume:
        """The reference image. Raises UpfieldError if the case has none."""
        if self.reference is None:
            raise UpfieldError(f"{self.participant} has no reference image")
        return nifti.load(self.reference)

    def has(self, methods: Iterable[str]) -> bool:
        """Whether there is an output of each of some methods."""
        return set(methods) <= set(self.outputs)

    def output(self, method: str) -> Array:
        """Values of a method's output; errors as for `on_grid`. Moved there with one interpolation, if it must be."""
        if self.transform is None:
            return on_grid(self.outputs[method], self.brain_mask.grid, self.mask)
        order = INTERPOLATION_ORDER.get(method, 3)
        moves = nifti.read_transform(self.transform)
        return nifti.resample(_readable(self.outputs[method]), self.brain_mask.grid, moves, order=order).data

    def uncertainty(self, method: str) -> Array:
        """Values of the standard deviation of a method's output; errors as for `on_grid`."""
        return on_grid(self.uncertainties[method], self.brain_mask.grid, self.mask)

    def sample(self, method: str) -> Array:
        """Values of a sample of a method; errors as for `on_grid`."""
        return on_grid(self.samples[method], self.brain_mask.grid, self.mask)

    def row(self, method: str) -> tuple[str, str, str, str]:
        """The first columns of a row: `participant_id`, `method`, `fold`, `seed`.

        `seed` names those whose models were averaged (`42+43`), n/a where nothing was trained.
        """
        return self.participant, method, self.fold, "+".join(map(str, self.seeds.get(method, []))) or "n/a"


def on_grid(path: str, grid: Grid, whose: str) -> Array:
    """Values of a prediction. Raises UpfieldError if it cannot be read or is not on the grid, that of `whose`."""
    output = _readable(path)
    if not output.grid.matches(grid):
        raise UpfieldError(f"{path} is not on the grid of {whose}; rerun the prediction")
    return output.data


def _readable(path: str) -> Volume:
    try:
        return nifti.load(path)
    except ScanError as error:
        raise UpfieldError(f"{path}: {error}; rerun the prediction") from None
