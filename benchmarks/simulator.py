"""Can a classifier tell simulated acquisitions from real ones? On raw data of 0.055 T scanners.

    python benchmarks/simulator.py [--data <folder with the test data, see CONTRIBUTING.md>] [--seeds 3]

The k-space of three patients, three contrasts each (`kspace`), gives the real images. Their slices at 3 T (`ulf`), on
the intensities that the other two patients have at 0.055 T, give the anatomies. For each patient in turn the numbers of
`simulate.kind: acquisition` (noise, filter of k-space, lines that are missing) are measured on the other two, a
classifier learns to tell real from simulated images of those, and is asked about the patient who was left out: a linear
one, which sees power spectra and moments, and a small convolutional network, both on squares of 64 mm in the head.
`lowfield`, the crude kind, is measured alike. It prints what was measured, then the AUC of each; 0.5 is a coin. It ends
with 1 where an AUC of `acquisition` is above 0.7.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import io, ndimage
from sklearn.metrics import roc_auc_score
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from upfield.evaluate.harmonization import classifier  # noqa: E402
from upfield.image import histograms, nifti  # noqa: E402
from upfield.image.nifti import Array, Volume  # noqa: E402
from upfield.simulation import protocol, simple  # noqa: E402
from upfield.simulation.acquisition import acquire, window  # noqa: E402

PATIENTS = ("HKU6A", "HKU6B", "HKU7A")
# Names of a contrast in the raw data and in BIDS.
CONTRASTS = {"GRE": "T1w", "FSE": "T2w", "FLAIR": "FLAIR"}
BOUND = 0.7
# mm: field of view, edge of a square that is judged.
FIELD, EDGE = 256, 64
# Squares of an image that are judged, and simulated images for each anatomy.
SQUARES, DRAWS = 6, 3
# Of the network that tells real from simulated.
STEPS = 300
# What `lowfield` is asked for: the voxels of the scanner, and the noise of the others.
CRUDE = {"kind": "lowfield", "factor": 2.0, "thickness": 10.0, "contrast": 1.0, "bias": 0.1, "seed": 0}
EDGES = np.linspace(0, 0.5, 13)


@dataclass(frozen=True)
class Raw:
    """The k-space of a scan, (readout, phase, slices), zero frequency in the middle."""

    patient: str
    contrast: str
    kspace: Array

    def image(self) -> Array:
        """Magnitude on voxels of 1 mm, zero-filled, (X, Y, Z) with right and anterior as the 3 T slices have them."""
        whole = np.zeros((FIELD, FIELD, self.kspace.shape[2]), complex)
        low = [(FIELD - size) // 2 for size in self.kspace.shape[:2]]
        inside = tuple(slice(first, first + size) for first, size in zip(low, self.kspace.shape, strict=False))
        whole[inside] = self.kspace
        return np.rot90(np.abs(_inverse(whole)))

    def measured(self) -> dict[str, float]:
        """Numbers of the acquisition, by their name in `Acquisition`."""
        readout, phase = self.kspace.shape[:2]
        lines = np.sqrt((np.abs(self.kspace) ** 2).mean(axis=(0, 2)))
        kept = lines > 1e-6 * lines.max()
        image = np.abs(_inverse(self.kspace)) * np.sqrt(readout * phase)
        # Air beside the head, where the receiver's own filter has no say: the middle of the readout, ends of the phase.
        side = phase // 12
        air = image[readout // 4 : -(readout // 4)][:, [*range(side), *range(phase - side, phase)]]
        outer = np.flatnonzero(kept)
        filters = (
            _fall(np.abs(self.kspace[:, [*outer[:side], *outer[-side:]]]) ** 2, 0),
            _fall(np.abs(self.kspace[[*range(side), *range(readout - side, readout)]][:, kept]) ** 2, 1),
        )
        return {
            "readout": FIELD / readout,
            "phase": FIELD / phase,
            "noise": float(
                np.sqrt((air**2).mean() / 2) / np.percentile(image, 99) / np.prod([_passed(f) for f in filters])
            ),
            "readout_filter": filters[0],
            "phase_filter": filters[1],
            "partial_fourier": float(kept.mean()),
        }


def _fall(power: Array, axis: int) -> float:
    """By how much noise is less at the ends of an axis of k-space than in its middle, 0 to 1, from its `power`."""
    level = np.sqrt(np.moveaxis(power, axis, 0).reshape(power.shape[axis], -1).mean(axis=1))
    third, few = len(level) // 3, max(len(level) // 25, 2)
    edge = np.concatenate([level[:few], level[-few:]]).mean()
    return float(np.clip(1 - edge / level[third:-third].mean(), 0, 1))


def _passed(strength: float) -> float:
    """How much of white noise such a filter lets through, by standard deviation."""
    return float(window(torch.arange(-49, 50), strength).square().mean().sqrt())


def _inverse(kspace: Array) -> Array:
    shifted = np.fft.ifftshift(kspace, axes=(0, 1))
    return np.fft.fftshift(np.fft.ifft2(shifted, axes=(0, 1)), axes=(0, 1))


def load(data: Path) -> tuple[list[Raw], dict[tuple[str, str], Array]]:
    """The raw scans, and by patient and contrast the 3 T slices on the same field of view, (X, Y, Z)."""
    raw, anatomies = [], {}
    for patient in PATIENTS:
        for name, suffix in CONTRASTS.items():
            found = io.loadmat(data / "kspace" / f"{patient}_{name}.mat")["kspace"]
            raw.append(Raw(patient, suffix, found))
            path = data / "ulf" / f"sub-{patient}" / "ses-3T" / "anat" / f"sub-{patient}_ses-3T_{suffix}.nii.gz"
            anatomies[patient, suffix] = _in_field(nifti.load(path))
    return raw, anatomies


def _in_field(volume: Volume) -> Array:
    spacing = volume.grid.spacing[:2]
    middle = (np.array(volume.data.shape[:2]) - 1) / 2
    at = np.meshgrid(
        *((np.arange(FIELD) - (FIELD - 1) / 2) / spacing[axis] + middle[axis] for axis in (0, 1)), indexing="ij"
    )
    smooth = [ndimage.gaussian_filter(volume.data[:, :, z], 0.5 / spacing) for z in range(volume.data.shape[2])]
    return np.stack([ndimage.map_coordinates(image, at, order=1, mode="constant") for image in smooth], axis=2)


def head(image: Array) -> Array:
    """Where a slice is head, boolean: its largest piece, without holes."""
    found = ndimage.gaussian_filter(image, 2) > 0.12 * np.percentile(image, 99)
    pieces, count = ndimage.label(found)
    if count > 1:
        found = pieces == 1 + np.argmax(ndimage.sum_labels(found, pieces, np.arange(1, count + 1)))
    return ndimage.binary_fill_holes(found)


def curve(images: Sequence[Array]) -> Array:
    """The mean quantiles of the heads in some images, by their 99th percentile, noise filtered away."""
    smooth = ((ndimage.gaussian_filter(image, 1.5) / np.percentile(image, 99), head(image)) for image in images)
    # Hundredths will do.
    return histograms.fit_histogram(smooth)[::10]


def recoloured(anatomy: Array, wanted: Array) -> Array:
    """A slice whose head has some quantiles (101,), air 0."""
    inside = head(anatomy)
    around = anatomy / max(anatomy[inside].max(), 1e-6) * 0.1
    return np.where(inside, histograms.match_histogram(anatomy, inside, wanted), around).astype(np.float32)


def ranges(scans: Sequence[Raw]) -> dict[str, tuple[float, float]]:
    """From which ranges numbers are drawn that were measured on some scans: a fifth of them beyond either end."""
    found = [scan.measured() for scan in scans]
    result = {}
    for name in found[0]:
        values = [one[name] for one in found]
        least, most = protocol.LIMITS[name]
        wide = 1.2 if name in ("noise", "readout_filter", "phase_filter") else 1.0
        result[name] = (max(min(values) / wide, least), min(max(values) * wide, most))
    return result


def acquired(slice_: Array, drawn_from: protocol.Ranges, generator: np.random.Generator) -> Array:
    """A slice as the scanner would see it, 1 mm voxels."""
    one = {"axis": (2, 2), "turned": (1, 1), "bias": (0, 0.1), "phase_range": (0, 1.5), **drawn_from}
    how = replace(protocol.drawn(one, generator), thickness=1.0, zero_filling=4.0)
    scan = acquire(torch.from_numpy(np.stack([slice_] * 3, axis=2)), 1.0, how, generator)
    return scan.on((FIELD, FIELD, 1)).numpy()[:, :, 0]


def crude(slice_: Array, drawn_from: protocol.Ranges, generator: np.random.Generator) -> Array:
    """A slice as `lowfield` makes it, interpolated to 1 mm."""
    volume = Volume(np.stack([slice_] * 20, axis=2), np.eye(4))
    noise = float(np.exp(generator.uniform(*np.log(drawn_from["noise"]))))
    low = simple.lowfield(volume, {**CRUDE, "noise": noise}, generator)
    return nifti.resample(low, volume.grid, order=3).data[:, :, 10]


def squares(image: Array, generator: np.random.Generator) -> list[Array]:
    """Squares of a slice with their middle in the head, each from 0 to 1 by robust extremes of the slice's head."""
    inside = head(image)
    low, high = np.percentile(image[inside], (1, 99))
    shown = ((image - low) / max(high - low, 1e-6)).astype(np.float32)
    half = EDGE // 2
    room = np.argwhere(inside[half:-half, half:-half])
    places = room[generator.integers(len(room), size=SQUARES)]
    return [shown[x : x + EDGE, y : y + EDGE] for x, y in places]


def features(square: Array) -> Array:
    """What the linear classifier sees: logarithms of the power by frequency along both axes, and moments."""
    power = np.abs(np.fft.fft2((square - square.mean()) * np.hanning(EDGE)[:, None] * np.hanning(EDGE))) ** 2
    frequency = np.abs(np.fft.fftfreq(EDGE))
    which = np.clip(np.digitize(frequency, EDGES) - 1, 0, len(EDGES) - 2)
    bins = [np.log(power[which == k].mean() + 1e-8) for k in range(len(EDGES) - 1)]
    bins += [np.log(power[:, which == k].mean() + 1e-8) for k in range(len(EDGES) - 1)]
    centred = (square - square.mean()) / max(float(square.std()), 1e-6)
    return np.array([*bins, square.mean(), square.std(), (centred**3).mean(), (centred**4).mean()])


def linear(known: Array, labels: Array, asked: Array, seed: int) -> Array:
    """Scores of the linear classifier."""
    table = [np.stack([features(square) for square in part]) for part in (known, asked)]
    return classifier.fit(table[0], labels)(table[1])


def convolutional(known: Array, labels: Array, asked: Array, seed: int) -> Array:
    """Scores of a network of four convolutions."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for wide, narrow in ((1, 12), (12, 24), (24, 32), (32, 32)):
        layers += [nn.Conv2d(wide, narrow, 3, stride=2, padding=1), nn.BatchNorm2d(narrow), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    images, wanted = (torch.from_numpy(np.asarray(a)).float() for a in (known, labels))
    weight = (1 - wanted.mean()) / wanted.mean()
    generator = np.random.default_rng(seed)
    for _ in range(STEPS):
        few = torch.from_numpy(generator.integers(len(images), size=32))
        batch = images[few][:, None]
        batch = batch.flip(2) if generator.random() < 0.5 else batch
        batch = batch.flip(3) if generator.random() < 0.5 else batch
        loss = nn.functional.binary_cross_entropy_with_logits(network(batch)[:, 0], wanted[few], pos_weight=weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        return network(torch.from_numpy(np.asarray(asked))[:, None])[:, 0].numpy()


KINDS: Mapping[str, Callable[[Array, protocol.Ranges, np.random.Generator], Array]] = {
    "acquisition": acquired,
    "lowfield": crude,
}
CLASSIFIERS = {"linear": linear, "network": convolutional}


def judged(
    raw: Sequence[Raw],
    anatomies: Mapping[tuple[str, str], Array],
    left_out: str,
    usual: Mapping[str, tuple[Array, protocol.Ranges]],
    generator: np.random.Generator,
) -> dict[str, dict[bool, list[Array]]]:
    """Squares of real images and of each kind's, of who is known to the classifiers (True) and of who is left out.

    `usual` has, by contrast, the intensities of the others and the ranges of their acquisitions.
    """
    parts: dict[str, dict[bool, list[Array]]] = {kind: {True: [], False: []} for kind in ("real", *KINDS)}
    for scan in sorted(raw, key=lambda scan: list(CONTRASTS.values()).index(scan.contrast)):
        known, (wanted, drawn_from) = scan.patient != left_out, usual[scan.contrast]
        for slice_ in _slices(scan.image()):
            parts["real"][known] += squares(slice_, generator)
        for slice_ in _slices(anatomies[scan.patient, scan.contrast]):
            coloured = recoloured(slice_, wanted)
            for kind, simulate in KINDS.items():
                for _ in range(DRAWS):
                    parts[kind][known] += squares(simulate(coloured, drawn_from, generator), generator)
    return parts


def _slices(image: Array) -> list[Array]:
    """The axial slices of an image (X, Y, Z)."""
    return [image[:, :, z] for z in range(image.shape[2])]


def main() -> int:
    """Print the measurements and the AUCs; 1 if one of `acquisition` is above `BOUND`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--pictures", type=Path, help="folder for a picture of real and simulated slices")
    given = options.parse_args()
    torch.set_num_threads(1)
    raw, anatomies = load(given.data)
    print("measured on k-space:")
    for scan in raw:
        print(
            f"  {scan.patient} {scan.contrast:5s}", {name: round(value, 3) for name, value in scan.measured().items()}
        )
    found: dict[tuple[str, str], list[float]] = {}
    for left_out in PATIENTS:
        usual = {}
        for suffix in CONTRASTS.values():
            others = [scan for scan in raw if scan.contrast == suffix and scan.patient != left_out]
            usual[suffix] = curve([slice_ for scan in others for slice_ in _slices(scan.image())]), ranges(others)
        for seed in range(given.seeds):
            parts = judged(raw, anatomies, left_out, usual, np.random.default_rng(seed))
            for kind in KINDS:
                known, asked = (np.stack(parts["real"][side] + parts[kind][side]) for side in (True, False))
                labels, truth = (
                    np.array([0] * len(parts["real"][side]) + [1] * len(parts[kind][side])) for side in (True, False)
                )
                for name, classify in CLASSIFIERS.items():
                    auc = float(roc_auc_score(truth, classify(known, labels, asked, seed)))
                    found.setdefault((kind, name), []).append(auc)
                    print(f"  without {left_out}, seed {seed}: {kind} {name} {auc:.3f}", flush=True)
            if given.pictures and seed == 0:
                _draw(given.pictures / f"simulator_{left_out}.png", parts)
    print("AUC on the patient who was left out, mean of three patients and", given.seeds, "seeds:")
    missed = False
    for (kind, name), values in found.items():
        # A classifier that is right the other way round has told them apart as well.
        mean = float(np.mean([max(value, 1 - value) for value in values]))
        bad = kind == "acquisition" and mean > BOUND
        missed = missed or bad
        print(f"  {kind:12s} {name:8s} {mean:.3f}{'  MISSED' if bad else ''}")
    return int(missed)


def _draw(path: Path, parts: Mapping[str, Mapping[bool, Sequence[Array]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(parts), 10, figsize=(15, 1.6 * len(parts)))
    for row, (kind, squared) in zip(axes, parts.items(), strict=True):
        step = max(len(squared[False]) // 10, 1)
        for axis, square in zip(row, squared[False][::step], strict=False):
            axis.imshow(np.rot90(square), cmap="gray", vmin=0, vmax=1)
            axis.axis("off")
        row[0].set_title(kind)
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
