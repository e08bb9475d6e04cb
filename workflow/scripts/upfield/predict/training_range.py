"""What scans a model has learned from, as ranges in its card, and what sets another scan apart from them.

The ranges come from training participants alone. Everything is read from the sidecars of the preprocessed images, so
that a scan to be enhanced is described by the code that described the training scans.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from upfield.bids import Scan
from upfield.errors import UpfieldError
from upfield.image.intensity import PROFILE
from upfield.preprocess.derivatives import MARK

Described = tuple[Scan, Mapping[str, Any]]

# A scan is out of range beyond the training scans' lowest and highest value and this much more, since a few
# participants do not span what a scanner or a population gives. Relative, voxel sizes and brain volumes:
SLACK = 0.25
# Relative, field strengths: 2.89 T and 3 T are one.
FIELD_SLACK = 0.1
# A factor: intensities are in arbitrary units and are normalized, so only another order of magnitude is strange.
UNITS = 10.0
# Of the distribution of intensities, in units of the brain's robust range.
PROFILE_SLACK = 0.15


def describe(sources: Sequence[Described], targets: Sequence[Described]) -> dict[str, Any]:
    """Ranges of the sources and typical values of the targets, for a model card.

    Each scan comes with the sidecar of its preprocessed image; excluded scans are left out. Voxel sizes are in mm
    along right, anterior, superior; brain volumes in cm3; `intensity` is the width of the robust range. The targets'
    `offset` and `scale` are the medians of their normalization: what gives an output intensities where there is no
    target. Raises UpfieldError if all scans of a side are excluded.
    """
    source, target = ([_facts(scan, sidecar) for scan, sidecar in side if MARK not in sidecar]
                      for side in (sources, targets))  # fmt: skip
    for side, scans, left in (("source", sources, source), ("target", targets, target)):
        if not left:
            reason = scans[0][1][MARK] if scans else "there is none"
            raise UpfieldError(
                f"no usable training scan of the {side}: {len(scans)} excluded, the first because {reason}; see"
                " excluded.tsv and qc/figures"
            )
    return {
        "source": {
            "scans": len(source),
            "suffix": _distinct(source, "suffix"),
            "field_strength": _distinct(source, "field_strength"),
            "manufacturer": _distinct(source, "manufacturer"),
            **{name: _range(source, name) for name in ("voxel", "intensity", "profile", "brain_volume")},
        },
        "target": {
            "scans": len(target),
            "suffix": _distinct(target, "suffix"),
            "field_strength": _distinct(target, "field_strength"),
            "voxel": _median(target, "voxel"),
            "offset": _median(target, "offset"),
            "scale": _median(target, "scale"),
        },
    }


def joined(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The ranges of several models together: whatever one of them has seen; typical values are averaged."""
    sources, targets = ([one[side] for one in models] for side in ("source", "target"))
    ranges = {
        name: {
            "low": np.min([source[name]["low"] for source in sources], axis=0).tolist(),
            "high": np.max([source[name]["high"] for source in sources], axis=0).tolist(),
        }
        for name in ("voxel", "intensity", "profile", "brain_volume")
    }
    listed = {
        name: sorted({value for source in sources for value in source[name]})
        for name in ("suffix", "field_strength", "manufacturer")
    }
    typical = {
        name: np.mean([target[name] for target in targets], axis=0).tolist() for name in ("voxel", "offset", "scale")
    }
    return {"source": {**sources[0], **listed, **ranges}, "target": {**targets[0], **typical}}


def check(
    scan: Scan, sidecar: Mapping[str, Any], trained_on: Mapping[str, Any], any_contrast: bool = False
) -> list[str]:
    """One line (what was found, what the model has seen) for everything that sets a scan apart; empty if nothing does.

    What the sidecars do not say, such as a field strength, cannot be judged and is no reason to warn. `any_contrast`
    is said of a model that was trained for all: voxels and brains are what it can be out of its range with.
    """
    seen, found = trained_on["source"], _facts(scan, sidecar)
    warnings = [] if any_contrast else _of_contrast(found, seen)
    if not _within(found["voxel"], seen["voxel"], 1 + SLACK):
        warnings.append(f"voxels of {_by(found['voxel'])} mm (the model has seen {_span(seen['voxel'], _by)} mm)")
    if not _within(found["brain_volume"], seen["brain_volume"], 1 + SLACK):
        span = _span(seen["brain_volume"], "{:.0f}".format)
        warnings.append(f"brain of {found['brain_volume']:.0f} cm3 (the model has seen {span})")
    return warnings


def _of_contrast(found: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """The same of a scan's contrast and intensities."""
    warnings = []
    if found["suffix"] not in seen["suffix"]:
        warnings.append(f"contrast {found['suffix']} (the model has seen {', '.join(seen['suffix'])})")
    field = found["field_strength"]
    known = [] if field is None else seen["field_strength"]
    if known and not any(abs(field - one) <= FIELD_SLACK * one for one in known):
        fields = ", ".join(f"{one:g}" for one in known)
        warnings.append(f"field strength {field:g} T (the model has seen {fields} T)")
    if not _within(found["intensity"], seen["intensity"], UNITS):
        warnings.append(
            f"intensities span {found['intensity']:.4g} in the brain (the model has seen"
            f" {_span(seen['intensity'], '{:.4g}'.format)})"
        )
    low, high = (np.asarray(seen["profile"][end]) for end in ("low", "high"))
    profile = np.asarray(found["profile"])
    beyond = np.maximum(low - profile, profile - high)
    worst = int(beyond.argmax())
    if beyond[worst] > PROFILE_SLACK:
        warnings.append(
            f"unusual contrast: {PROFILE[worst]} % of the brain is darker than {profile[worst]:.2f} of its range"
            f" (the model has seen {low[worst]:.2f} to {high[worst]:.2f})"
        )
    return warnings


def _facts(scan: Scan, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    low, high = sidecar["RobustRange"]
    field = scan.metadata.get("MagneticFieldStrength")
    return {
        "suffix": scan.suffix,
        "field_strength": None if field is None else float(field),
        "manufacturer": scan.metadata.get("Manufacturer"),
        "voxel": sidecar["NativeVoxelSize"],
        "intensity": high - low,
        "profile": sidecar["IntensityProfile"],
        "brain_volume": sidecar["BrainVolume"],
        "offset": sidecar["IntensityOffset"],
        "scale": sidecar["IntensityScale"],
    }


def _distinct(facts: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    return sorted({fact[name] for fact in facts if fact[name] is not None})


def _range(facts: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    values = np.array([fact[name] for fact in facts], dtype=float)
    return {"low": values.min(axis=0).tolist(), "high": values.max(axis=0).tolist()}


def _median(facts: Sequence[Mapping[str, Any]], name: str) -> Any:
    return np.median(np.array([fact[name] for fact in facts], dtype=float), axis=0).tolist()


def _within(value: Any, bounds: Mapping[str, Any], factor: float) -> bool:
    found, low, high = (np.asarray(item, dtype=float) for item in (value, bounds["low"], bounds["high"]))
    return bool(((found >= low / factor) & (found <= high * factor)).all())


def _by(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)


def _span(bounds: Mapping[str, Any], text: Any) -> str:
    low, high = text(bounds["low"]), text(bounds["high"])
    return low if low == high else f"{low} to {high}"
