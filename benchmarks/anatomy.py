"""How good the segmenter `anatomy` is on brains that it has never seen.

    python benchmarks/anatomy.py --model <folder> [--data <folder with the test data, see CONTRIBUTING.md>]
        [--only maps,sessions,volumes] [--draws 2] [--validation]

- maps: mean Dice over structures on label maps that its card does not name; with --validation also on those that chose
  its epoch. There is no truth but the maps: the images are random draws, of any contrast, under the acquisitions that
  the card names, and the masks are the brains of the maps
- sessions: Dice between the two sessions of the patient of open_ms, each contrast segmented by itself, the second moved
  onto the first by a rigid registration. Nobody has drawn these structures: this is agreement, not truth
- volumes: hippocampus and lateral ventricle of each side, in ml, on the heads of ds000011 and ds002748

Ends with 1 where the mean Dice on maps is below 0.80, where the agreement is below 0.85, or where a volume is not one
that adults have (hippocampus 2 to 6 ml, lateral ventricle 2 to 60 ml).
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from upfield.catalogue import structures  # noqa: E402
from upfield.image import nifti  # noqa: E402
from upfield.image.nifti import Array, Volume  # noqa: E402
from upfield.predict.segment import Segmenter, read, segment, volumes  # noqa: E402
from upfield.preprocess.bias import n4  # noqa: E402
from upfield.preprocess.brain import deepbet  # noqa: E402
from upfield.preprocess.registration import register  # noqa: E402
from upfield.simulation import labels, protocol  # noqa: E402
from upfield.simulation.acquisition import scanned  # noqa: E402
from upfield.training.structures import closed  # noqa: E402

GROUPS = ("maps", "sessions", "volumes")
# What is expected: Dice on maps, Dice between sessions, ml of a side.
ON_MAPS, BETWEEN = 0.80, 0.85
EXPECTED = {"hippocampus": (2.0, 6.0), "lateral ventricle": (2.0, 60.0)}
# mm around a brain that is cut out of a map.
AROUND = 12.0


def dice(one: Array, other: Array, inside: Array | None = None) -> dict[str, float]:
    """Dice of every structure that is in `other`, of two arrays of numbers, where `inside` is true."""
    if inside is not None:
        one, other = one[inside], other[inside]
    found = {}
    for structure in structures.STRUCTURES:
        a, b = one == structure.number, other == structure.number
        if b.any():
            found[structure.name] = float(2 * (a & b).sum() / (a.sum() + b.sum()))
    return found


def shown(title: str, scores: Sequence[dict[str, float]], least: float) -> list[str]:
    """Print the mean Dice of every structure and of all; returns what is missed."""
    if not scores:
        print(f"{title}: nothing to measure")
        return [f"{title}: nothing to measure"]
    for name in structures.NAMES:
        values = [score[name] for score in scores if name in score]
        if values:
            print(f"{title:9s} {name:28s} {np.mean(values):.3f}  ({min(values):.3f} to {max(values):.3f})")
    each = [float(np.mean(list(score.values()))) for score in scores]
    mean = float(np.mean(each))
    print(f"{title:9s} {'mean':28s} {mean:.3f}  n {len(each)}: {' '.join(f'{value:.2f}' for value in each)}")
    sys.stdout.flush()
    return [f"{title}: Dice {mean:.3f}, expected {least}"] if mean < least else []


def on_maps(data: Path, segmenter: Segmenter, draws: int, validation: bool) -> list[str]:
    """Random draws of maps that are not in the card, or not among those that it was trained on."""
    parts = segmenter.card["maps"]
    seen = {*parts["train"], *([] if validation else parts["val"])}
    kinds = protocol.protocols(segmenter.card["ranges"])
    scores = []
    unseen = [path for path in sorted(data.glob("labels/*.nii.gz")) if path.name not in seen]
    for number, path in enumerate(unseen):
        whole = nifti.reorient(nifti.load_labels(path))
        truth = structures.indices(whole.data)
        brain = closed((truth > 0) & (truth != structures.FLUID), 1)
        low, high = nifti.bounding_box(brain, np.ceil(AROUND / whole.grid.spacing).astype(int))
        part = tuple(map(slice, low, high))
        grid = nifti.crop(whole.grid, low, high)
        wanted, inside = structures.NUMBERS[truth[part]], brain[part]
        tissues = torch.from_numpy(labels.indices(whole.data)[part])
        for draw in range(draws):
            generator = np.random.default_rng([17, number, draw])
            image = labels.drawn(tissues, 1.0, generator).numpy()
            scan = scanned(Volume(image, grid.affine), protocol.one_of(kinds, generator), generator)
            mask = nifti.mask_on(Volume(inside, grid.affine), scan.grid)
            found = segment(scan, mask, segmenter)
            on_map = nifti.resample(found, grid, order=0).data
            scores.append(dice(on_map, wanted, inside))
    return shown("maps", scores, ON_MAPS)


def prepared(path: Path) -> tuple[Volume, Array]:
    """A scan without its bias, and its brain."""
    volume = nifti.load_scan(path)
    mask = deepbet.extract(volume, {}, [])
    return n4(volume, mask), mask


def between_sessions(data: Path, segmenter: Segmenter) -> list[str]:
    """The sessions of a patient, by contrast, on the grid of the first."""
    scores = []
    for suffix in ("T1w", "T2w", "FLAIR"):
        scans = [prepared(path) for path in sorted(data.glob(f"open_ms/sub-*/ses-*/anat/*_{suffix}.nii.gz"))]
        for (fixed, here), (moving, there) in itertools.pairwise(scans):
            images = [scan.with_data(np.where(mask, scan.data, 0)) for scan, mask in ((fixed, here), (moving, there))]
            forward, _ = register(*images, "rigid", 42)
            first, second = segment(fixed, here, segmenter), segment(moving, there, segmenter)
            moved = nifti.resample(second, first.grid, forward, order=0).data
            both = here & nifti.mask_on(moving.with_data(there), first.grid, forward)
            scores.append(dice(moved, first.data, both))
            print(f"sessions  {suffix}: {np.mean(list(scores[-1].values())):.3f}")
    return shown("sessions", scores, BETWEEN)


def of_heads(data: Path, segmenter: Segmenter) -> list[str]:
    """Volumes of healthy adults."""
    missed = []
    for path in sorted(
        [*data.glob("ds000011/sub-*/anat/*_T1w.nii.gz"), *data.glob("ds002748/sub-*/anat/*_T1w.nii.gz")]
    ):
        found = volumes(segment(*prepared(path), segmenter)).set_index("name")["volume_ml"]
        said = []
        for name, (least, most) in EXPECTED.items():
            for side in structures.SIDES:
                ml = float(found[f"{side} {name}"])
                said.append(f"{side} {name} {ml:.1f}")
                if not least <= ml <= most:
                    missed.append(f"{path.name}: {side} {name} {ml:.1f} ml, expected {least:g} to {most:g}")
        print(f"volumes   {path.relative_to(data).parts[0]} {path.name.split('_')[0]}: {', '.join(said)} ml")
        sys.stdout.flush()
    return missed


def main() -> int:
    """Measure, print, and say what is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", default=",".join(GROUPS))
    parser.add_argument("--draws", type=int, default=2, help="images of each map")
    parser.add_argument("--validation", action="store_true", help="also maps that chose the epoch")
    arguments = parser.parse_args()
    segmenter, data = read(arguments.model), arguments.data
    groups: dict[str, Callable[[], list[str]]] = {
        "maps": lambda: on_maps(data, segmenter, arguments.draws, arguments.validation),
        "sessions": lambda: between_sessions(data, segmenter),
        "volumes": lambda: of_heads(data, segmenter),
    }
    missed = [text for name in arguments.only.split(",") for text in groups[name]()]
    print("missed: " + "; ".join(missed) if missed else "all is met")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
