"""Does quality control lose right pairs, does it catch shuffled ones? Over the phantom and real scans, with defaults.

    python benchmarks/quality.py [<folder with the test data, see CONTRIBUTING.md>] [<name of a set> ...]

Every right pair (two scans of one person), and every person's source with the target of the next person (of slabs
those of all others), is prepared and judged as a study does it with the default configuration: brain masks (deepbet),
N4, rigid registration, the metrics of a pair, the thresholds of config/config.yaml. One row a pair is printed, then for
each set how many right pairs would be lost and how many shuffled ones are caught. The sets are

- phantom: five simulated people, 64 mT and 3 T, at 2 mm
- ds000011: eight people, low field simulated from each scan
- open_ms: one patient, two sessions, three contrasts (thick slices); the stranger is of ds000011
- ulf: three patients, 64 mT and 3 T, three contrasts (slabs of three or four slices)

What cannot be measured excludes nobody.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from upfield import phantom
from upfield.errors import ScanError
from upfield.files import read_yaml
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.preprocess import bias, registration
from upfield.preprocess.brain.extraction import extract
from upfield.quality import judging, pair
from upfield.simulation import degradation as degrade
from upfield.study import config

SETTINGS = read_yaml(config.ROOT / "config" / "config.yaml")
SEED = SETTINGS["preprocess"]["registration"]["seed"]
SHOWN = ("mirror_gain", "slab_gain", "mutual_information", "ncc", "edge_overlap", "mask_dice")
# A set's pairs: contrast, source, target, whether they are of one person.
Row = tuple[str, "Scan", "Scan", bool]


@dataclass(frozen=True)
class Scan:
    """A name, its image or where that is, and whether low field is simulated from it."""

    name: str
    image: Path | str | Volume
    simulated: bool = False


KNOWN: dict[tuple[str, bool], pair.Brain] = {}


def brain(scan: Scan) -> pair.Brain:
    """The scan as quality control sees it, made once for all pairs that it is in."""
    key = scan.name if isinstance(scan.image, Volume) else str(scan.image), scan.simulated
    if key not in KNOWN:
        volume = scan.image if isinstance(scan.image, Volume) else nifti.load(scan.image)
        volume = degrade.degrade(volume, SETTINGS["simulate"], scan.name) if scan.simulated else volume
        mask = extract(volume, SETTINGS["preprocess"]["brain"])
        KNOWN[key] = pair.brain(bias.correct_bias(volume, mask), volume.with_data(mask))
    return KNOWN[key]


def both(kind: str, sources: list[Scan], targets: list[Scan], strangers: int = 1) -> Iterator[Row]:
    """Everybody with themselves, and with the next ones."""
    for number, source in enumerate(sources):
        for step in range(strangers + 1):
            yield kind, source, targets[(number + step) % len(targets)], step == 0


def phantoms(_: Path) -> Iterator[Row]:
    people = [phantom.simulate(number, phantom.Phantom(subjects=5, spacing=2.0)) for number in range(5)]
    low = [Scan(f"phantom {number}, 64 mT", person.low) for number, person in enumerate(people)]
    high = [Scan(f"phantom {number}, 3 T", person.high) for number, person in enumerate(people)]
    return both("T1w", low, high)


def simulated(data: Path) -> Iterator[Row]:
    paths = sorted(data.glob("ds000011/sub-*/anat/*_T1w.nii.gz"))
    people = [path.name.split("_")[0] for path in paths]
    sources, targets = ([Scan(n, p, low) for n, p in zip(people, paths, strict=True)] for low in (True, False))
    return both("T1w", sources, targets)


def sessions(data: Path) -> Iterator[Row]:
    stranger = Scan("sub-01 of ds000011", next(data.glob("ds000011/sub-01/anat/*_T1w.nii.gz")))
    for kind in ("T1w", "T2w", "FLAIR"):
        first, second = (
            Scan(path.name, path) for path in sorted(data.glob(f"open_ms/sub-*/ses-*/anat/*_{kind}.nii.gz"))[:2]
        )
        yield kind, first, second, True
        yield kind, first, stranger, False


def slabs(data: Path) -> Iterator[Row]:
    for kind in ("T1w", "T2w", "FLAIR"):
        sides = [sorted(data.glob(f"ulf/sub-*/ses-{session}/anat/*_{kind}.nii.gz")) for session in ("ulf", "3T")]
        sources, targets = ([Scan(path.name.split("_")[0], path) for path in paths] for paths in sides)
        yield from both(kind, sources, targets, len(targets) - 1)


SETS = {"phantom": phantoms, "ds000011": simulated, "open_ms": sessions, "ulf": slabs}


def judge(source: Scan, target: Scan) -> tuple[dict[str, float], list[str]]:
    """Metrics of a pair, and the reasons for which it would be excluded."""
    try:
        moving, fixed = brain(source), brain(target)
        transform, _ = registration.register(fixed.image, moving.image, "rigid", SEED)
        found = pair.metrics(moving, fixed, transform)
    except ScanError as error:
        return {}, [str(error)]
    rows = judging.judge({"source": {}, "target": {}, "pair": found}, SETTINGS["qc"]["thresholds"])
    return found, [row["metric"] for row in rows if row["action"] == "exclude"]


def main(data: Path, wanted: list[str]) -> None:
    print("set\tcontrast\tsource\ttarget\tpair\t" + "\t".join(SHOWN) + "\texcluded by")
    for name in wanted or SETS:
        counts = {True: [0, 0], False: [0, 0]}
        for kind, source, target, right in SETS[name](data):
            found, reasons = judge(source, target)
            counts[right][0] += 1
            counts[right][1] += bool(reasons)
            values = "\t".join(f"{found.get(metric, np.nan):.4f}" for metric in SHOWN)
            row = [name, kind, source.name, target.name, "right" if right else "shuffled", values, ", ".join(reasons)]
            print("\t".join(row), flush=True)
        (good, lost), (shuffled, caught) = counts[True], counts[False]
        print(f"# {name}: {lost} of {good} right pairs lost, {caught} of {shuffled} shuffled pairs caught", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    folder = Path(given.pop(0)) if given and given[0] not in SETS else Path()
    main(folder, given or (["phantom"] if folder == Path() else []))
