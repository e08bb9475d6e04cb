"""What a study is made of: scans, pairs of them, and what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Stands for the path of a scan that nobody acquired.
SIMULATED = "n/a"


@dataclass(frozen=True)
class Scan:
    """One scan: where it is, what BIDS says of it, and why it cannot be used (`problem`, empty if it can).

    `name` is its file name without suffix and extension (`sub-01_ses-1`); `folder` its folder relative to the
    dataset (`sub-01/ses-1/anat`). Derivatives keep both. `acquired` is when, ISO 8601, empty if unknown. `original` is
    what the dataset calls the participant, where an unpaired study calls it otherwise. `dicom` is the folder of the
    DICOM series that `path` will be converted from, empty for other scans. `channel` counts the contrasts of a source
    from 0. `further` are the paths of more acquisitions of the same, to be averaged with it. `voxels` is the digest of
    the image's values, `detail` what copies of it share (`image.likeness`), empty before they were read.
    """

    participant: str
    role: str
    path: str
    folder: str
    name: str
    suffix: str
    session: str = "n/a"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    voxel: tuple[float, ...] = ()
    size: int = 0
    problem: str = ""
    acquired: str = ""
    original: str = ""
    dicom: str = ""
    channel: int = 0
    further: tuple[str, ...] = ()
    voxels: str = ""
    detail: str = ""

    @property
    def root(self) -> str:
        """Folder of the dataset that it is from; of a scan from a table one above it, which may be near the root."""
        above = Path(self.path).parents
        return str(above[min(len(Path(self.folder).parts), len(above) - 1)])

    @property
    def key(self) -> str:
        """Name and suffix: unique among the scans of a study."""
        return f"{self.name}_{self.suffix}"

    @property
    def simulated(self) -> bool:
        """Whether this scan is made from another by degradation rather than acquired."""
        return self.path == SIMULATED


@dataclass(frozen=True)
class Pair:
    """A participant's source scan and target scan; `others` are further contrasts of the source, in order.

    The first contrast, `source`, is what baselines enhance and outputs are named after.
    """

    participant: str
    source: Scan
    target: Scan
    others: tuple[Scan, ...] = ()

    @property
    def sources(self) -> tuple[Scan, ...]:
        """The source scans, one for each channel of a network's input."""
        return (self.source, *self.others)


@dataclass(frozen=True)
class Exclusion:
    """A scan or participant left out: in which stage, and why."""

    participant: str
    role: str
    path: str
    stage: str
    reason: str


@dataclass(frozen=True)
class Index:
    """All scans that the filters match, the pairs they form, what was left out, and the scans that are used.

    These are the scans of the pairs; in an unpaired study every usable scan, whether in a pair or not.
    """

    scans: Sequence[Scan]
    pairs: Sequence[Pair]
    excluded: Sequence[Exclusion]
    used: Sequence[Scan]


def changed(scan: Scan, **changes: Any) -> Scan:
    """`scan` with some fields changed."""
    return Scan(**{**asdict(scan), **changes})
