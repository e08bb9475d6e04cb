"""From label maps to a folder with a trained segmenter: what the rule of `anatomy` calls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from upfield import methods
from upfield.catalogue import structures
from upfield.files import digest
from upfield.methods import model, parameter_counts
from upfield.methods.anatomy import MODULE, SETTINGS
from upfield.patches import Patches, Sampling
from upfield.training.data import Options, load, to_device
from upfield.training.device import autocast, choose
from upfield.training.log import write_history
from upfield.training.loop import Trainer
from upfield.training.redraw import VALIDATED, Settings
from upfield.training.structures import Structures
from upfield.training.validation import Validation

# Patches of a box, and lesions in it at most; share of the old in the moving average of the weights.
PER_BOX, LESIONS, AVERAGE = 2, 3, 0.998


class Agreement(Validation):
    """Structures as they are found against those of the maps."""

    criterion = "val_error"

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Dice of every structure in the brain, over the same patches every time, and 1 - their mean, `val_error`.

        What is in none of the patches is left out.
        """
        options = self.options
        sampling = Sampling(options.patch_val, options.per_volume_val, 1.0, options.seed)
        patches = Patches(self.stores, sampling, 0)
        both, found, wanted = np.zeros((3, structures.COUNT))
        self.method.eval()
        for batch in load(self.method, patches, range(len(patches)), self.device, options.workers):
            batch = to_device(self.method, batch, self.device)
            with autocast(self.device, self.dtype):
                output = self.method(batch["source"]).argmax(dim=1)
            inside = batch["mask"][:, 0] > 0
            here, there = (index[inside].long().cpu().numpy() for index in (output, batch["target"][:, 0]))
            for counts, index in ((both, here[here == there]), (found, here), (wanted, there)):
                counts += np.bincount(index, minlength=structures.COUNT)
        self.method.train()
        dice = {
            f"val_{name.replace(' ', '_')}": float(2 * both[index] / (found[index] + wanted[index]))
            for index, name in enumerate(structures.NAMES, start=1)
            if wanted[index]
        }
        return {self.criterion: 1 - float(np.mean(list(dice.values()))), **dice}


def train_segmenter(
    folder: Path,
    *,
    version: int,
    anatomy: Mapping[str, Any],
    ranges: Any,
    train: Mapping[str, Any],
    maps: Mapping[str, Sequence[Path]],
    card: Mapping[str, Any],
) -> None:
    """Train the segmenter and write its folder; continues from a checkpoint of the same run if there is one.

    Parameters
    ----------
    version
        Of the training code; a checkpoint of another version is not resumed.
    anatomy
        This block of a study: `epochs`, `boxes` of a map in an epoch, edge of a `patch` in voxels of 1 mm, `seed`.
    ranges
        Of acquisitions, see `simulation.protocol.protocols`.
    train
        What of this block of a study says where and how it is computed.
    maps
        Label maps of `train` and `val`.
    card
        What else stands in the model card.

    """
    seed, boxes = anatomy["seed"], anatomy["boxes"]
    torch.manual_seed(seed)
    network = methods.build({"module": MODULE, **SETTINGS})
    edge = -(-anatomy["patch"] // network.divisor) * network.divisor
    patch = (edge, edge, edge)
    options = Options(
        **train,
        epochs=anatomy["epochs"],
        seed=seed,
        ema=AVERAGE,
        accumulate=1,
        patience=None,
        layer_lr={},
        processes=1,
        preview_every=0,
        patch=patch,
        patch_val=patch,
        per_volume=PER_BOX,
        per_volume_val=1,
        foreground=1.0,
        brain_share=0.0,
    )
    how = Settings(ranges, 1.0, 0.0, LESIONS, boxes, False, "percentile", seed)
    device = choose(options.device)
    draws = Structures(how, maps["train"], device, edge)
    held_out = Structures(replace(how, boxes=2 * boxes), maps["val"], device, edge).drawn(VALIDATED)
    known = [version, SETTINGS, dict(anatomy), ranges, *([digest(path) for path in part] for part in maps.values())]
    trainer = Trainer(network, [], held_out, options, folder, digest(known), draws, Agreement)
    run = trainer.fit()
    write_history(folder / "history.tsv", run.history)
    best = run.history[run.best_epoch - 1]
    description = {
        "method": "anatomy",
        "module": MODULE,
        "seed": seed,
        "parameters": parameter_counts(network),
        "settings": SETTINGS,
        "anatomy": dict(anatomy),
        "ranges": ranges,
        "in_channels": network.in_channels,
        "patch": patch,
        "best_epoch": run.best_epoch,
        f"best_{trainer.validation.criterion}": run.best_value,
        "dice": {
            name: value for name, value in best.items() if name.startswith("val_") and name != Agreement.criterion
        },
        "epochs": run.epoch,
        "steps": run.step,
        "train_seconds": round(run.seconds, 1),
        "device": str(trainer.device),
        "precision": str(trainer.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "structures": structures.numbered(),
        "maps": {part: [path.name for path in found] for part, found in maps.items()},
    }
    model.save(folder, run.best, description | dict(card))
