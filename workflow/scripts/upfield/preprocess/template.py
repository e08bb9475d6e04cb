"""A template: the space in which pairs meet instead of their targets' own, where a study names one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from upfield.errors import ScanError, UpfieldError
from upfield.files import atomic
from upfield.image import nifti, transforms
from upfield.image.nifti import Volume
from upfield.image.transforms import Transform
from upfield.preprocess.grid import MARGIN
from upfield.step import step

# What files of a template are called that has no name.
SPACE = "template"
# A brain may reach beyond the working grid, which ends `grid.MARGIN` around the template's, by this share.
BEYOND = 0.01


def given(settings: Mapping[str, Any]) -> bool:
    """Whether a study's `preprocess.template` names a template."""
    return any(settings[key] is not None for key in ("name", "image", "mask"))


def space(settings: Mapping[str, Any]) -> str:
    """The label of the template's space in file names: that of TemplateFlow, or `template`."""
    return str(settings["name"] or SPACE)


def files(settings: Mapping[str, Any], root: str) -> tuple[str, str]:
    """Image and brain mask of a template: those given, or those that `fetch` writes into the study's folder."""
    name = settings["name"]
    if name is None:
        return settings["image"], settings["mask"]
    folder = f"{root}/sourcedata/templateflow/tpl-{name}"
    return f"{folder}/tpl-{name}_T1w.nii.gz", f"{folder}/tpl-{name}_desc-brain_mask.nii.gz"


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, if a study's template cannot be used."""
    settings, key = config["preprocess"]["template"], "config: preprocess.template"
    if not given(settings):
        return
    paths = {name: settings[name] for name in ("image", "mask") if settings[name] is not None}
    if settings["name"] is not None and paths:
        raise UpfieldError(
            f"{key}.name is {settings['name']}, but {key.split()[1]}.{min(paths)} is set too; give a name of"
            " TemplateFlow, or image and mask"
        )
    if settings["name"] is None and len(paths) < 2:
        missing = "image" if "mask" in paths else "mask"
        raise UpfieldError(
            f"{key}.{missing} is not set; expected the path of an image (image and mask belong together)"
        )
    for name, path in paths.items():
        if not Path(path).is_file():
            raise UpfieldError(f"{key}.{name} is {path}, which is no file; expected the path of an image")
    if config["preprocess"]["spacing"] == "native":
        raise UpfieldError("config: preprocess.spacing is native; expected mm, since pairs meet in a template's space")


@step(version=0, memory=(300, 0.2), minutes=(0.2, 0.02))
def fetch(name: str, image: str, mask: str) -> None:
    """Copy a template of TemplateFlow (Ciric et al. 2022, https://doi.org/10.1038/s41592-022-01681-2) and its mask.

    They come from the folder TEMPLATEFLOW_HOME (default: the user's cache), and are downloaded into it if they are not
    there. T1w, at its highest resolution. Raises UpfieldError for a name that is not known, for one that stands for
    several images or for none, and without a network.
    """
    from requests import RequestException
    from templateflow.client import TemplateFlowClient

    client = TemplateFlowClient()
    key = f"config: preprocess.template.name is {name}"
    home = client.cache.config.root
    # Some templates have one resolution, which has no number.
    ways: tuple[dict[str, Any], ...] = ({"resolution": 1}, {})
    for output, wanted in ((image, {"suffix": "T1w", "desc": None}), (mask, {"suffix": "mask", "desc": "brain"})):
        found = [client.ls(name, extension=".nii.gz", **wanted, **more) for more in ways]
        chosen = next((number for number, paths in enumerate(found) if len(paths) == 1), None)
        if chosen is None:
            raise UpfieldError(
                f"{key}, of which TemplateFlow ({home}) has {max(map(len, found))} images of the kind"
                f" {wanted['suffix']}; expected one, or give image and mask"
            )
        try:
            path = client.get(name, extension=".nii.gz", **wanted, **ways[chosen])
        except (RequestException, RuntimeError, OSError):
            raise UpfieldError(
                f"{key}; {found[chosen][0].name} is not in {home} (TEMPLATEFLOW_HOME) and cannot be downloaded; run"
                " once where there is a network, or give image and mask"
            ) from None
        with atomic(output) as temporary:
            temporary.write_bytes(path.read_bytes())


def fits(fixed: Volume, moving: Volume, inverse: Transform) -> None:
    """Raise ScanError if a brain (`moving`) is a slab, or lies beyond the working grid around the template's (`fixed`).

    Both are 0 outside the brain. `inverse` leads from the world of `moving` to that of `fixed`.
    """
    if moving.grid.slab_axis is not None:
        raise ScanError("a few slices cannot be registered to a template; expected a field of view of at least 80 mm")
    low, high = nifti.bounding_box(fixed.data > 0)
    room = MARGIN / fixed.grid.spacing
    points = transforms.apply_matrix(moving.affine, np.argwhere(moving.data > 0)[::50].T)
    where = transforms.apply_matrix(np.linalg.inv(fixed.affine), transforms.move(inverse, points)).T
    share = float(((where < low - room) | (where > high - 1 + room)).any(axis=1).mean())
    if share > BEYOND:
        raise ScanError(
            f"{share:.0%} of the brain lies beyond the working grid around the template's; expected at most"
            f" {BEYOND:.0%}: look at the registration, or choose affine"
        )
