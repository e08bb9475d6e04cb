"""A segmenter that a study trains on label maps (`anatomy`): which maps, and a study that has nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upfield.bids.layout import Layout
from upfield.errors import UpfieldError
from upfield.files import digest
from upfield.simulation import protocol
from upfield.step import step
from upfield.study import config as configuration
from upfield.study import places
from upfield.study.provenance import record
from upfield.study.requirements import label_maps
from upfield.study.scans import root_of

# Files of the segmenter, by what the training calls them.
FILES = {"model": "anatomy_model", "card": "anatomy_card", "history": "anatomy_history"}
# What of `train` says where and how it is computed.
COMPUTED = ("device", "precision", "max_steps", "save_every", "log_every", "workers", "threads")


@dataclass(frozen=True)
class Anatomy:
    """The `anatomy` block of a study.

    Attributes
    ----------
    labels
        Folder of label maps with FreeSurfer's numbers.
    held_out
        Share of the maps that validate: the last by name, one at least.
    epochs, boxes, patch, seed
        See `training.segmenting.train_segmenter`.

    """

    labels: str
    held_out: float = 0.25
    epochs: int = 120
    boxes: int = 6
    patch: int = 40
    seed: int = 42

    @property
    def trained(self) -> dict[str, int]:
        """What the weights depend on beside the maps."""
        return {name: getattr(self, name) for name in ("epochs", "boxes", "patch", "seed")}

    def maps(self) -> dict[str, list[str]]:
        """Paths of the maps of `train` and `val`. Raises UpfieldError if there are fewer than two."""
        found = [str(path) for path in label_maps(self.labels, "anatomy.labels")]
        if len(found) < 2:
            raise UpfieldError(f"config: anatomy.labels is {self.labels}, with one label map; expected two or more")
        count = min(max(round(self.held_out * len(found)), 1), len(found) - 1)
        return {"train": found[:-count], "val": found[-count:]}


def of(config: Mapping[str, Any]) -> Anatomy | None:
    """The block of a configuration; None if no segmenter is trained."""
    return None if config["anatomy"] is None else Anatomy(**config["anatomy"])


def used(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Weights and card of the segmenter that outputs are compared with; None if tissue classes are, or nothing is."""
    chosen = config["evaluate"]["segmentation"]
    if isinstance(chosen, bool):
        return None
    folder = configuration.folder_of(chosen)
    return f"{folder}/model.safetensors", f"{folder}/model.json"


def check(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, if maps, acquisitions or a segmenter are not there."""
    for path in used(config) or ():
        if not Path(path).is_file():
            raise UpfieldError(
                f"config: evaluate.segmentation is {config['evaluate']['segmentation']}, where there is no"
                f" {Path(path).name}; expected true, false or the folder of a segmenter"
            )
    found = of(config)
    if found is not None:
        found.maps()
        protocol.protocols(config["simulate"]["ranges"])


def alone(config: Mapping[str, Any]) -> bool:
    """Whether a configuration names label maps and no scans."""
    scans = (config["source"]["bids_dir"], config["target"]["bids_dir"], config["samples"], config["phantom"])
    return config["anatomy"] is not None and not any(scans)


class Maps:
    """A study of label maps alone: nothing but its segmenter is made."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Raises UpfieldError for a bad configuration."""
        configuration.check_schema(settings)
        places.check(settings)
        check(settings)
        self.config = dict(settings)
        self.root = root_of(settings)
        self.paths = Layout(self.root)
        # No job has a size.
        self.megavoxels: dict[str, float] = {}


@step(version=1, memory=(2500, 0), minutes=(0, 0), threads=None)
def train(
    train_maps: Sequence[str],
    val_maps: Sequence[str],
    model: str,
    card: str,
    history: str,
    anatomy: Mapping[str, Any],
    ranges: Any,
    config: Mapping[str, Any],
) -> None:
    """Train the segmenter and write its model, card and history, all in one folder; `anatomy` is `Anatomy.trained`."""
    from upfield.training.segmenting import train_segmenter

    maps = {"train": [Path(path) for path in train_maps], "val": [Path(path) for path in val_maps]}
    train_segmenter(
        Path(model).parent,
        version=train.step.version,  # type: ignore[attr-defined]
        anatomy=anatomy,
        ranges=ranges,
        train={key: config["train"][key] for key in COMPUTED},
        maps=maps,
        card=record(config, digest({part: [path.name for path in found] for part, found in maps.items()})),
    )
