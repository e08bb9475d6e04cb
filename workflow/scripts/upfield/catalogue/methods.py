"""Facts about methods, known without their code: what stands in the files of config/methods/."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from upfield.catalogue import settings as described
from upfield.catalogue.rules import hint, one_line, raise_first, strict, suits
from upfield.catalogue.settings import Setting
from upfield.errors import UpfieldError
from upfield.files import merged, read_yaml
from upfield.image.nifti import SAME, Scale
from upfield.place import ROOT

SCHEMA = ROOT / "workflow" / "schemas" / "method.schema.yaml"
BUILT_IN = ROOT / "config" / "methods"
# Where methods are looked for, beside config/methods/ of the folder in which Snakemake runs.
METHOD_FILES = BUILT_IN

# Baselines without a network, and the order of the interpolation that brings each to the target's grid.
INTERPOLATION_ORDER = {"identity": 1, "spline": 3, "histogram_match": 1, "denoise": 3}
MODEL_FREE = tuple(INTERPOLATION_ORDER)
# Those of them with something to fit on training participants, which is kept as a model.
FITTED = ("histogram_match", "denoise")
# The baseline that is trained: the U-Net without a discriminator.
SUPERVISED = "unet3d"
# What needs another grid to interpolate to: on a scan's own grid it is `identity`.
NEED_A_GRID = ("spline",)
# What needs a target to learn from, or another grid: baselines that unpaired studies cannot have.
NEED_A_TARGET = (*NEED_A_GRID, "denoise", SUPERVISED)
# Keys of `train` that change how training is watched, fed and spread, and no weight but by the rounding of sums.
RUNTIME_OPTIONS = ("save_every", "preview_every", "log_every", "workers", "processes", "threads")
# The preset whose settings are worked out from the data where it has none, and the settings of a method that stand in
# for the study's `patches` and `train` where they are not null.
PLANNED = "planned"
COURSE = ("patch", "per_volume", "per_volume_val", "epochs", "accumulate", "ema")
# Kinds of pairing that a method learns from whose file does not say.
LEARNS_FROM = ("paired", "simulated")
# Sizes in a method's file: a number, or a power of two of a setting, perhaps and one: `2**levels + 1`.
SIZE = re.compile(r"(\d+)\*\*([a-z_]+)(?: \+ (\d+))?")


@dataclass(frozen=True)
class Facts:
    """What a method's file says; keys are explained in workflow/schemas/method.schema.yaml."""

    name: str
    document: Mapping[str, Any]

    @functools.cached_property
    def settings(self) -> dict[str, Setting]:
        """Every setting by name, in the order of the file."""
        return {name: described.read(name, entry) for name, entry in self.document["settings"].items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """Every setting in the first preset."""
        return {name: setting.default for name, setting in self.settings.items()}

    @property
    def says(self) -> str:
        """The method in half a sentence, with keys of citations in brackets; empty if the file says nothing."""
        return str(self.document.get("says", ""))

    @property
    def dims(self) -> int:
        """3 for patches, 2 for axial slices; 3 if the file does not say."""
        return int(self.document.get("dims", 3))

    @property
    def pairings(self) -> tuple[str, ...]:
        """Values of `pairing` that the method can learn from."""
        return tuple(self.document.get("pairings", LEARNS_FROM))

    @property
    def multichannel(self) -> bool:
        """Whether the source may have several contrasts."""
        return bool(self.document.get("multichannel", False))

    @property
    def sampler(self) -> bool:
        """Whether it draws samples, whatever its settings."""
        return bool(self.document.get("sampler", False))

    @property
    def planned(self) -> tuple[str, ...]:
        """Settings that a plan decides in the preset `planned`; none where the method has no such preset."""
        preset = self.document["presets"].get(PLANNED) or {}
        return tuple(name for name, value in preset.items() if value is None)

    def normalize(self, values: Mapping[str, Any]) -> str | None:
        """The only kind of intensities that suits it, if it is one.

        An output that is the input and a difference has no bounds that the images would have to keep.
        """
        return None if values.get("input_residual") else self.document.get("normalize")

    def scale(self, values: Mapping[str, Any]) -> Scale:
        """Size of the output divided by that of the input. Raises UpfieldError if it is not made of whole numbers."""
        found = tuple(values.get(part) if isinstance(part, str) else part for part in self.document.get("scale", SAME))
        if not all(isinstance(factor, int) and factor >= 1 for factor in found):
            raise UpfieldError(f"config: {self.name} enlarges by {found}; expected whole numbers of at least 1")
        return cast(Scale, found)

    def divisor(self, values: Mapping[str, Any]) -> int:
        """What sizes of an input are multiples of; 1 if the file does not say."""
        return _size(self.document.get("divisor", 1), values)

    def smallest_patch(self, values: Mapping[str, Any]) -> int:
        """The smallest edge of a training patch in voxels of the target, with these settings."""
        sizes = [
            _size(entry["voxels"] if isinstance(entry, Mapping) else entry, values)
            for entry in self.document.get("smallest_patch", ())
            if not isinstance(entry, Mapping) or _holds(entry["when"], values)
        ]
        return max([1, *sizes])

    def resolved(self, preset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting: the defaults, what a preset changes of them, and `overrides` of known settings."""
        return merged(merged(self.defaults, self.document["presets"][preset] or {}), overrides)

    def check(self, values: Mapping[str, Any], where: str) -> None:
        """Raise UpfieldError, one line, for a value that a setting's rule, or one of the whole, does not allow.

        `values` are resolved settings; `where` is the configuration's key of them.
        """
        left = self.planned if values.get("preset") == PLANNED else ()
        for name, setting in self.settings.items():
            if setting.rule is not None and not (values[name] is None and name in left):
                _raise(setting.rule, values[name], f"{where}.{name}")
        for rule in self.document.get("together", ()):
            if _holds(rule["when"], values):
                _raise({"properties": rule["then"]}, dict(values), where)


def _size(given: int | str, values: Mapping[str, Any]) -> int:
    if isinstance(given, int):
        return given
    base, name, more = SIZE.fullmatch(given).groups()  # type: ignore[union-attr]
    # What is planned suits itself.
    return 1 if values[name] is None else int(base) ** int(values[name]) + int(more or 0)


def _holds(condition: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(name in values and suits(rule, values[name]) for name, rule in condition.items())


def _raise(rule: Mapping[str, Any], value: Any, key: str) -> None:
    errors = sorted(strict(rule).iter_errors(value), key=lambda error: len(error.absolute_path))
    if errors:
        raise UpfieldError(one_line(errors[0], "config", key))


def method_file(name: str) -> Path:
    """Where a method's settings are. Raises UpfieldError for an unknown method."""
    path = next((folder / f"{name}.yaml" for folder in _folders() if (folder / f"{name}.yaml").is_file()), None)
    if path is None:
        known = sorted(known_methods() | set(MODEL_FREE))
        raise UpfieldError(f"config: methods names {name!r:.60}{hint(name, known)}")
    return path


def known_methods() -> set[str]:
    """Names of the methods that have a file here."""
    return {path.stem for folder in _folders() for path in folder.glob("*.yaml")}


def modules() -> set[str]:
    """Where the code of every method is that has a file here."""
    return {facts(name).document["module"] for name in known_methods()}


def _folders() -> list[Path]:
    return [Path(folder) for folder in (METHOD_FILES, Path("config/methods"))]


def facts(name: str) -> Facts:
    """What is known of a method. Raises UpfieldError for an unknown one, and for a file with a mistake."""
    path = method_file(name).resolve()
    return _read(path, path.stat().st_mtime_ns, checked=True)


def built_in(name: str) -> Facts:
    """Facts of a method that comes with Upfield, for its own code; its file is not checked again."""
    path = BUILT_IN / f"{name}.yaml"
    return _read(path, path.stat().st_mtime_ns, checked=False)


@functools.cache
def _read(path: Path, changed: int, checked: bool) -> Facts:
    # Rules ask for settings many times while a study is planned.
    document = read_yaml(path)
    if checked:
        raise_first(strict(read_yaml(SCHEMA)).iter_errors(document), str(path))
    found = Facts(path.stem, document)
    try:
        _ = found.settings
    except UpfieldError as error:
        raise UpfieldError(f"{path}: settings.{error}") from None
    return found
