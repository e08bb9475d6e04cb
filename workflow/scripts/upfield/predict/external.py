"""Methods of others: running their programs, and their outputs on the target's grid and scale."""

import logging
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upfield import program
from upfield.catalogue.weights import read_arrays
from upfield.errors import ScanError, UpfieldError
from upfield.files import digest, portable, read_json
from upfield.image import denoising, intensity, nifti
from upfield.image.intensity import Scaling
from upfield.image.nifti import Array, Volume, mask_on
from upfield.predict import models as trained
from upfield.predict.native import ON_TARGET, save_prediction, save_unenhanced
from upfield.preprocess import external as outside
from upfield.preprocess.derivatives import MARK, save_image, scaling_of, why_excluded
from upfield.step import step

# Of a correlation with the target in the brain, what is missing to 1 in a copy of it.
COPY = 1e-7
# Bytes of a file that is read to tell it from others.
LARGEST = 2**26
AS_GIVEN = "intensities as the program gave them"
ON_TRAINING = "intensities on the median scale of the training targets"


@step(version=0, memory=(8000, 500), minutes=(60, 0), threads=4)
def run_external(
    source: str, mask: str, output: str, method: str, command: Sequence[str], minutes: float, said: Mapping[str, Any]
) -> None:
    """What a program makes of a source as it was acquired, as the program left it.

    `command` is a program and its arguments, run without a shell. In its words {source}, {mask} (native brain mask) and
    {output} stand for files in a folder of their own, in which it runs; {threads} for how many it may use, {here} for
    the folder of the run. It may take so many `minutes`. If it fails, or what it writes is no image of the brain, the
    scan is written with the reason, and the method has no row for this participant. Raises UpfieldError if the program
    is not there, and PassingError if it was killed.
    """
    here, metadata = str(Path.cwd()), {"Sources": [source, mask], "Method": method, **said}
    files = [Path(word.replace("{here}", here)) for word in command]
    digests = {path.name: _digest(path) for path in files if "/" in str(path) and path.is_file()}
    words = [word if "{here}" in word else portable(word, {}) for word in command]
    metadata |= {"Command": words, "Digests": digests}
    reason = why_excluded([mask])
    if reason is None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                made = _run(source, mask, Path(folder), command, minutes, f"external.{method}")
                save_image(made, output, metadata)
            return
        except ScanError as error:
            reason = str(error)
            logging.warning("%s", reason)
    save_image(nifti.load(source), output, metadata | {MARK: reason})


def _digest(path: Path) -> str:
    """What tells a file from others: a digest, or the size of a large one, such as a container, which takes long."""
    size = path.stat().st_size
    return digest(path) if size <= LARGEST else f"{size} bytes"


def _run(source: str, mask: str, folder: Path, command: Sequence[str], minutes: float, key: str) -> Volume:
    """The image that a program writes in `folder`."""
    ending = ".nii.gz" if source.endswith(".gz") else ".nii"
    places = {"source": folder / f"source{ending}", "mask": folder / "mask.nii.gz", "output": folder / "output.nii.gz"}
    shutil.copy(source, places["source"])
    shutil.copy(mask, places["mask"])
    filled = {**places, "threads": run_external.step.threads, "here": Path.cwd()}  # type: ignore[attr-defined]
    words = [re.sub(r"\{(\w+)\}", lambda found: str(filled[found[1]]), word) for word in command]
    found = shutil.which(words[0])
    if found is None:
        raise UpfieldError(f"{key}: {Path(words[0]).name} was not found; install it, or give its path")
    try:
        # A path from here: it runs elsewhere.
        done = program.run([Path.cwd() / found, *words[1:]], seconds=60 * minutes, folder=folder)
    except program.ProgramError as error:
        raise ScanError(f"{key}: {error}") from None
    if done.code != 0:
        done.require_own_end(f"{key}: {Path(words[0]).name}")
        raise ScanError(f"{key}: {Path(words[0]).name} failed ({done.last_line[:160]})")
    if not places["output"].is_file():
        raise ScanError(f"{key}: {Path(words[0]).name} wrote no image to {{output}} ({done.last_line[:100]})")
    try:
        made = nifti.load(places["output"], finite=True)
        outside.require_covered(made, nifti.load_mask(mask), outside.SOURCE)
    except ScanError as error:
        raise ScanError(f"{key}: its output cannot be used: {error}") from None
    return made


@step(version=0, memory=(1200, 80), minutes=(0.3, 0.1))
def place_external(
    external: str,
    source: str,
    source_mask: str,
    target: str,
    target_mask: str,
    acquired: str,
    transform: str,
    target_preprocessed: str,
    prediction: str,
    method: str,
    normalization: str,
    said: Mapping[str, Any],
    space: str | None = None,
    models: Sequence[str] = (),
    judged_by: Sequence[str] = (),
) -> None:
    """What another program made of a source, on the target's native grid, interpolated once or not at all.

    Parameters
    ----------
    external
        The output of the program.
    source, source_mask, target, target_mask, transform
        The native, bias-corrected pair, its brains, and the transform between them.
    acquired
        The target before bias correction.
    target_preprocessed
        Whose sidecar has the numbers of the target's normalization.
    normalization, space
        As for `intensity.fit` and `placed`.
    said
        What the sidecar says of the program. By its `Scale`, intensities are `as_given`; `matched`: normalized in the
        source's brain as scans are, then on the scale of the target as every method's; or `fitted`: under a curve
        between the two, that of the `models`.
    judged_by
        Files that exclude the pair, which then has its source alone, see `save_unenhanced`.

    An output that is no image of the brain has the source alone too, with the reason: nobody measures it. Raises
    UpfieldError for one that is the target itself.

    """
    reason, key = why_excluded([*judged_by, external]), f"external.{method}"
    if reason is None:
        try:
            output, moves = nifti.load(external, finite=True), nifti.read_transform(transform)
            brains = nifti.load_mask(source_mask), nifti.load_mask(target_mask)
            moved, how = outside.placed(output, *brains, moves, space, key)
            inside = brains[1].data
            _require_other(moved.data[inside], [nifti.load(path).data[inside] for path in (target, acquired)], key)
            scale, shown = scaling_of(target_preprocessed), mask_on(brains[0], moved.grid, moves)
            data = _scaled(moved, shown, scale, normalization, prediction, said["Scale"], models)
        except ScanError as error:
            reason = str(error)
            logging.warning("%s: %s: %s", key, Path(external).name, reason)
    if reason is not None:
        save_unenhanced(source, target, transform, method, judged_by, prediction, reason=reason)
        return
    metadata = {
        "Sources": [source, target, transform],
        "SpatialReference": target,
        "SkullStripped": False,
        "Method": method,
        "Models": trained.folders(models),
        "Intensity": AS_GIVEN if said["Scale"] == "as_given" else ON_TARGET,
        **_told(external, said),
        "Placed": how,
    }
    save_prediction(moved.with_data(data), prediction, metadata, judged_by)


@step(version=0, memory=(800, 60), minutes=(0.3, 0.05))
def scale_external(
    external: str,
    source_mask: str,
    typical: str,
    enhanced: str,
    method: str,
    normalization: str,
    said: Mapping[str, Any],
    models: Sequence[str] = (),
    judged_by: Sequence[str] = (),
) -> None:
    """What another program made of a source, where it left it, on the scale that the training targets have.

    `typical` is a file of `typical_targets`; the rest as for `place_external`, which also says what becomes of outputs
    that cannot be used.
    """
    output, reason = nifti.load(external), why_excluded([*judged_by, external])
    metadata: dict[str, Any] = {"Sources": [source_mask], "Method": method, "SkullStripped": False}
    if reason is None:
        try:
            targets = read_json(typical)
            scale, inside = (
                Scaling(targets["offset"], targets["scale"]),
                mask_on(nifti.load_mask(source_mask), output.grid),
            )
            data = _scaled(output, inside, scale, normalization, enhanced, said["Scale"], models)
        except ScanError as error:
            reason = str(error)
    if reason is not None:
        save_prediction(output, enhanced, metadata | {MARK: reason})
        return
    metadata |= {
        "Models": trained.folders(models),
        "Intensity": AS_GIVEN if said["Scale"] == "as_given" else ON_TRAINING,
        **_told(external, said),
    }
    save_prediction(output.with_data(data), enhanced, metadata)


def _scaled(
    image: Volume, brain: Array, scale: Scaling, normalization: str, named: str, kind: str, models: Sequence[str]
) -> Array:
    """Intensities of an image on a scale; `named` has the suffix of the contrast."""
    if kind == "as_given":
        return image.data
    suffix = Path(named).name.split(".")[0].rsplit("_", 1)[-1]
    data = intensity.fit(image.data, brain, normalization, suffix).apply(image.data)
    if kind == "fitted":
        knots = read_arrays(models[0])
        data = denoising.curved(data, knots["before"], knots["after"])
    return scale.invert(data)


def _require_other(found: Array, targets: Sequence[Array], key: str) -> None:
    """Raise UpfieldError if the voxels of a brain are those of a target, whatever their scale: a leak."""
    for target in targets:
        if np.ptp(found) > 0 and np.ptp(target) > 0 and np.corrcoef(found, target)[0, 1] > 1 - COPY:
            raise UpfieldError(
                f"{key}: a prediction is its target, voxel by voxel; expected what a program made of the source: give"
                " other files"
            )


def _told(external: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What a sidecar says of the file that another program wrote."""
    return {**said, "File": Path(external).name, "Digest": digest(Path(external))}
