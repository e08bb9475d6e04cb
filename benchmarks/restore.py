"""How good `restore` is on scans that it has never seen, without any fine-tuning.

    python benchmarks/restore.py --model <model folder> [--data <folder with the test data, see CONTRIBUTING.md>]
        [--only degraded,thick,maps,ulf,lesions] [--participants sub-06,...] [--maps head-11,...]

Beside it stand the baselines without a network, each tuned and fitted as in a study, on the other participants of its
group: the best of ten denoisers (a Gaussian of 0 mm is the spline, with a monotone curve it is histogram matching) and
the linear interpolation. Outputs of `restore` get a curve that is fitted on the same others, and nothing else.

- degraded: heads of ds000011 under `lowfield`, a simulator that `restore` never drew from
- thick: T1w, T2w and FLAIR of a patient whose slices are averaged to 6 mm, against the slices as they were acquired
- maps: images drawn from label maps, acquired with the ranges of `config/examples/restore.yaml`; every image has its
  own contrast, so that every method gets the two numbers that suit the image best
- ulf: slices at 0.055 T of three patients against those at 3 T, T1w
- lesions: balls of 4 mm that are 25 % brighter or darker, in heads that are acquired as there: how much of their
  contrast in the input is left in the output; and bright spots in the output where the input has none

Participants and maps must be such as the model has not seen; those that its card names are left out. Ends with 1 where
`restore` is not better than the best baseline in PSNR and SSIM (ulf: 0.3 dB and SSIM and correlation), where less than
0.9 of a lesion's contrast is left, or where a spot appears.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from upfield.commands.single import Model  # noqa: E402
from upfield.evaluate.metrics import measure  # noqa: E402
from upfield.files import read_yaml, write_json  # noqa: E402
from upfield.image import denoising, intensity, nifti  # noqa: E402
from upfield.image.nifti import Array, Volume  # noqa: E402
from upfield.predict.apply import enhance_alone  # noqa: E402
from upfield.preprocess import simulation  # noqa: E402
from upfield.preprocess.bias import n4  # noqa: E402
from upfield.preprocess.brain import deepbet  # noqa: E402
from upfield.preprocess.standardize import prepare  # noqa: E402
from upfield.simulation import labels, protocol  # noqa: E402
from upfield.simulation.acquisition import scanned  # noqa: E402
from upfield.study.scans import grid_alone  # noqa: E402
from upfield.training import curves  # noqa: E402

GROUPS = ("degraded", "thick", "maps", "ulf", "lesions")
LOWFIELD = {"kind": "lowfield", "contrast": 0.7, "bias": 0.2, "seed": 0}
DEGRADED = {
    "2 mm": {**LOWFIELD, "factor": 1.5, "thickness": 2.0, "noise": 0.12},
    "5 mm": {**LOWFIELD, "factor": 1.6, "thickness": 5.0, "noise": 0.06},
}
# mm that thin slices are averaged to, and around a brain that is cut out.
THICK, AROUND = 6.0, 12.0
# dB over the best baseline on real low-field scans; share of a lesion's contrast.
BETTER, LEFT = 0.3, 0.9
# mm, diameter; contrast; how many in a head; standard deviations that make a spot, mm of its surroundings.
LESION, CONTRAST, LESIONS = 4.0, 0.25, 12
SPOT, SURROUNDINGS = 3.0, 5.0
INFERENCE = {"overlap": 0.5, "tta": False, "device": "auto", "precision": "fp32"}


@dataclass(frozen=True)
class Case:
    """A scan, its mask, and the target that it should look like, on whose grid outputs are measured in `brain`.

    `transform` leads from the target's world to that of the scan.
    """

    source: Volume
    mask: Array
    target: Volume
    brain: Array
    transform: Array | None = None

    def moved(self, image: Volume, order: int = 3) -> Array:
        """An image of the scan's world on the grid of the target."""
        return nifti.resample(image, self.target.grid, self.transform, order=order).data


def restored(model: Model, source: Volume, mask: Array) -> Volume:
    """What `upfield enhance` makes of a bias-corrected scan whose brain is known."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{name}_T1w.nii.gz" for name in ("scan", "mask", "prepared", "output")]
        nifti.save(source, files[0])
        nifti.save(source.with_data(mask.astype(np.uint8)), files[1], np.uint8)
        write_json(f"{folder}/mask_T1w.json", {})
        grid = grid_alone(model.preprocess, keeps_contrast=True)
        prepare(*files[:3], grid, model.card["domain"]["target"]["voxel"], (1, 1, 1))
        weights = [str(model.folder / "model.safetensors")]
        enhance_alone(files[0], files[1], [files[2]], weights, files[3], INFERENCE, adds_change=False)
        return nifti.load(files[3])


def outputs(case: Case, model: Model) -> tuple[dict[tuple[str, float], Array], Array]:
    """Values in the brain by method, normalized by the scan's own brain, and those of the target, likewise."""
    scaling = intensity.fit(case.source.data, case.mask, "percentile")
    wanted = intensity.fit(case.target.data, case.brain, "percentile").apply(case.target.data)
    found = {("linear", 0.0): scaling.apply(case.moved(case.source, 1))}
    spline = scaling.apply(case.moved(case.source))
    for kind, strength in denoising.CANDIDATES:
        found[kind, strength] = denoising.denoise(spline, case.target.grid.spacing, 1.0, kind, strength)
    found["restore", 0.0] = scaling.apply(case.moved(restored(model, case.source, case.mask)))
    return found, wanted


def scores(image: Array, wanted: Array, brain: Array) -> tuple[float, float, float]:
    """PSNR, SSIM and correlation in the brain."""
    span = measure.reference_range(wanted, brain)
    found = measure.compute(image, wanted, brain, span, ["psnr", "ssim", "pearson"])
    return found["psnr"], found["ssim"], found["pearson"]


def compared(cases: Sequence[Case], model: Model, own: bool = False) -> dict[str, Array]:
    """Scores (cases, 3) of `restore`, of the best denoiser, and of linear interpolation.

    For each case in turn denoiser and curve are chosen and fitted on the others; with `own` two numbers on the image
    itself.
    """
    made = [outputs(case, model) for case in cases]
    names = list(made[0][0])
    result: dict[str, list[tuple[float, float, float]]] = {"restore": [], "denoise": [], "linear": []}
    for number, case in enumerate(cases):
        others = [number] if own else [other for other in range(len(cases)) if other != number]
        fits: dict[tuple[str, float], tuple[float, tuple[Array, Array]]] = {}
        for name in names:
            samples = [(made[o][0][name][cases[o].brain], made[o][1][cases[o].brain]) for o in others]
            found = [curves.fitted(samples, kind) for kind in (("linear",) if own else curves.CURVES)]
            errors = [np.mean([np.mean((denoising.curved(a, *f) - b) ** 2) for a, b in samples]) for f in found]
            best = int(np.argmin(errors))
            fits[name] = float(errors[best]), found[best]
        chosen = min((name for name in names if name[0] not in ("restore", "linear")), key=lambda name: fits[name][0])
        for title, name in (("restore", ("restore", 0.0)), ("denoise", chosen), ("linear", ("linear", 0.0))):
            image = denoising.curved(made[number][0][name], *fits[name][1])
            result[title].append(scores(image, made[number][1], case.brain))
    return {title: np.array(values) for title, values in result.items()}


def shown(title: str, found: Mapping[str, Array], better: float = 0.0) -> list[str]:
    """Print a group; returns what is missed."""
    for name, values in found.items():
        mean = values.mean(axis=0)
        each = " ".join(f"{value:.2f}" for value in values[:, 0])
        print(f"{title:16s} {name:8s} {mean[0]:6.2f} dB  SSIM {mean[1]:.3f}  r {mean[2]:.3f}  n {len(values)}: {each}")
    ours = found["restore"].mean(axis=0)
    best = np.maximum(found["denoise"].mean(axis=0), found["linear"].mean(axis=0))
    missed = []
    if ours[0] < best[0] + better:
        missed.append(f"{title}: {ours[0] - best[0]:+.2f} dB")
    if ours[1] <= best[1]:
        missed.append(f"{title}: SSIM {ours[1] - best[1]:+.3f}")
    if better and ours[2] <= best[2]:
        missed.append(f"{title}: correlation {ours[2] - best[2]:+.3f}")
    sys.stdout.flush()
    return missed


def box(volume: Volume, mask: Array) -> tuple[Volume, Array]:
    """A volume and a mask, cut to the brain and what is around it."""
    low, high = nifti.bounding_box(mask, np.ceil(AROUND / volume.grid.spacing).astype(int))
    part = tuple(map(slice, low, high))
    return Volume(volume.data[part], nifti.crop(volume.grid, low, high).affine), mask[part]


def brain_of(volume: Volume) -> Array:
    """The brain of a scan."""
    return deepbet.extract(volume, {}, [])


def heads(data: Path, seen: set[str], asked: Sequence[str]) -> list[tuple[str, Volume, Array]]:
    """Scans of ds000011 that the model has not seen, with their brains."""
    found = []
    for path in sorted(data.glob("ds000011/sub-*/anat/*_T1w.nii.gz")):
        participant = path.name.split("_")[0]
        if participant not in seen and (not asked or participant in asked):
            volume = nifti.reorient(nifti.load_scan(path))
            found.append((participant, volume, brain_of(volume)))
    return found


def degraded(people: Sequence[tuple[str, Volume, Array]], settings: Mapping[str, object]) -> list[Case]:
    """Heads under a simulator."""
    cases = []
    for participant, volume, mask in people:
        source = simulation.degrade(volume, settings, participant)
        inside = nifti.mask_on(volume.with_data(mask), source.grid)
        target, brain = box(volume, mask)
        cases.append(Case(n4(source, inside), inside, target, brain))
    return cases


def thick(data: Path, suffix: str) -> list[Case]:
    """Slices of a patient averaged to thick ones."""
    cases = []
    for path in sorted(data.glob(f"open_ms/sub-*/ses-*/anat/*_{suffix}.nii.gz")):
        volume = nifti.reorient(nifti.load_scan(path))
        mask = brain_of(volume)
        many = max(round(THICK / float(volume.grid.spacing[2])), 2)
        low = nifti.resample(volume, nifti.coarsen(volume.grid, (1, 1, many)), order=1)
        whole = volume.data.shape[2] // many * many
        blocks = volume.data[..., :whole].reshape(*volume.data.shape[:2], -1, many).mean(axis=3)
        data_low = low.data.copy()
        data_low[..., : blocks.shape[2]] = blocks
        source = low.with_data(data_low)
        inside = nifti.mask_on(volume.with_data(mask), source.grid)
        target, brain = box(volume, mask)
        cases.append(Case(n4(source, inside), inside, target, brain))
    return cases


def drawn(data: Path, asked: Sequence[str], seen: set[str], kind: Mapping[str, object]) -> list[Case]:
    """Acquisitions of images that are drawn from label maps."""
    cases = []
    for number, path in enumerate(sorted(data.glob("labels/*.nii.gz"))):
        name = path.name.split(".")[0]
        if path.name in seen or (asked and name not in asked):
            continue
        volume = nifti.reorient(nifti.load_labels(path))
        tissues = labels.indices(volume.data)
        mask = labels.brain(tissues)
        generator = np.random.default_rng([7, number])
        image = labels.drawn(torch.from_numpy(tissues), 1.0, generator).numpy()
        target, brain = box(volume.with_data(image), mask)
        source = scanned(target, protocol.drawn(protocol.protocols([kind])[0], generator), generator)  # type: ignore[list-item]
        inside = nifti.mask_on(target.with_data(brain), source.grid)
        cases.append(Case(n4(source, inside), inside, target, brain))
    return cases


def ulf(data: Path) -> list[Case]:
    """Slices at 0.055 T onto those at 3 T."""
    from upfield.preprocess import registration

    cases = []
    for path in sorted(data.glob("ulf/sub-*/ses-ulf/anat/*_T1w.nii.gz")):
        pair = []
        for scan in (path, Path(str(path).replace("ses-ulf", "ses-3T"))):
            volume = nifti.load_scan(scan)
            mask = brain_of(volume)
            pair.append((n4(volume, mask), mask))
        (source, mask), (target, brain) = pair
        still, moving = (image.with_data(np.where(where, image.data, 0)) for image, where in pair[::-1])
        forward, _ = registration.register(still, moving, "rigid", 42)
        assert isinstance(forward, np.ndarray)
        cases.append(Case(source, mask, target, brain, forward))
    return cases


def planted(
    people: Sequence[tuple[str, Volume, Array]], model: Model, ranges: Sequence[Mapping[str, object]]
) -> list[str]:
    """Lesions that are left, and spots that appear; returns what is missed."""
    missed, shares, spots = [], [], 0
    for number, (_, volume, mask) in enumerate(people):
        grid = nifti.regrid(volume, 1.0)
        head, inside = nifti.resample(volume, grid, order=3), nifti.mask_on(volume.with_data(mask), grid)
        head, inside = box(head.with_data(np.clip(head.data, 0, None)), inside)
        generator = np.random.default_rng([11, number])
        deep = np.argwhere(ndimage.distance_transform_edt(inside) > 2 * LESION)
        places = deep[generator.choice(len(deep), LESIONS, replace=False)]
        distances = np.stack([np.sqrt(((np.indices(head.data.shape).T - place) ** 2).sum(-1)).T for place in places])
        signs = np.where(np.arange(LESIONS) % 2, 1, -1)
        balls = np.clip(LESION / 2 - distances + 0.5, 0, 1)
        changed = head.with_data(head.data * (1 + CONTRAST * (signs[:, None, None, None] * balls).sum(axis=0)))
        for kind in ranges:
            acquisition = protocol.drawn(protocol.protocols([kind])[0], np.random.default_rng([12, number]))  # type: ignore[list-item]
            pair = []
            for anatomy in (head, changed):
                source = scanned(anatomy, acquisition, np.random.default_rng([13, number]))
                where = nifti.mask_on(head.with_data(inside), source.grid)
                output = nifti.resample(restored(model, source, where), head.grid, order=3).data
                pair.append((nifti.resample(source, head.grid, order=3).data, output))
            core = distances < LESION / 2
            for ball in core:
                given, kept = (abs(float((b - a)[ball].mean())) for a, b in zip(*pair, strict=True))
                shares.append(kept / max(given, 1e-9))
            spots += appeared(*pair[0], inside)
    share = float(np.median(shares))
    low, high = np.percentile(shares, (10, 90))
    print(
        f"lesions          {share:.2f} of their contrast is left (median; a tenth below {low:.2f}, a tenth above"
        f" {high:.2f}), n {len(shares)}"
    )
    print(f"spots            {spots} appeared")
    if share < LEFT:
        missed.append(f"lesions: {share:.2f} of {LEFT}")
    if spots:
        missed.append(f"spots: {spots}")
    return missed


def appeared(given: Array, made: Array, inside: Array) -> int:
    """Bright spots of an output that its input does not have."""
    core = ndimage.binary_erosion(inside, iterations=3)

    def raised(image: Array) -> Array:
        smooth = ndimage.gaussian_filter(image, 1.0)
        over = smooth - ndimage.gaussian_filter(image, SURROUNDINGS)
        return np.asarray(over / over[core].std())

    before, after = raised(given), raised(made)
    new = core & (after > SPOT) & (before < 1.0)
    return int(ndimage.label(new)[1])


def main() -> int:
    """Measure, print, and say what is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", default=",".join(GROUPS))
    parser.add_argument("--participants", default="")
    parser.add_argument("--maps", default="")
    arguments = parser.parse_args()
    only = arguments.only.split(",")
    model = Model.read(arguments.model)
    card = model.card
    seen = {name for part in ("train", "val") for name in card["participants"].get(part, [])}
    maps = set(card.get("redrawn", {}).get("maps", []))
    asked = [name for name in arguments.participants.split(",") if name]
    kinds = read_yaml(ROOT / "config" / "examples" / "restore.yaml")["simulate"]["ranges"]
    people = heads(arguments.data, seen, asked) if {"degraded", "lesions"} & set(only) else []
    missed: list[str] = []
    groups: dict[str, Callable[[], list[str]]] = {
        "degraded": lambda: [
            text
            for title, settings in DEGRADED.items()
            for text in shown(f"degraded {title}", compared(degraded(people, settings), model))
        ],
        "thick": lambda: [
            text
            for suffix in ("T1w", "T2w", "FLAIR")
            for text in shown(f"thick {suffix}", compared(thick(arguments.data, suffix), model))
        ],
        "maps": lambda: [
            text
            for number, kind in enumerate(kinds, 1)
            for text in shown(
                f"maps {number}",
                compared(
                    drawn(arguments.data, arguments.maps.split(",") if arguments.maps else [], maps, kind), model, True
                ),
            )
        ],
        "ulf": lambda: shown("ulf", compared(ulf(arguments.data), model), BETTER),
        "lesions": lambda: planted(people, model, kinds[:2]),
    }
    for name, group in groups.items():
        if name in only:
            missed += group()
    print("missed: " + "; ".join(missed) if missed else "all is met")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
