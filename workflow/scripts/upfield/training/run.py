"""From patch stores to a model folder: what the training rules call."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from upfield import methods
from upfield.catalogue.methods import COURSE
from upfield.catalogue.weights import KEEPS_CONTRAST
from upfield.errors import UpfieldError
from upfield.files import digest, relative
from upfield.image import histograms
from upfield.methods import Method, model, parameter_counts
from upfield.patches import TARGET, standardised, usable
from upfield.training import processes
from upfield.training.calibrating import std_scale
from upfield.training.data import Options
from upfield.training.device import choose
from upfield.training.log import write_history
from upfield.training.loop import Preview, Trainer
from upfield.training.redraw import VALIDATED, Redraw, Settings
from upfield.training.start import fit_starts


def train_model(
    folder: Path,
    *,
    method: str,
    version: int,
    settings: Mapping[str, Any],
    train: Mapping[str, Any],
    patches: Mapping[str, Any],
    stores: Mapping[str, Sequence[str]],
    card: Mapping[str, Any],
    start: Path | None = None,
    features: Sequence[Path] = (),
    maps: Sequence[Path] = (),
    preview: Preview | None = None,
) -> None:
    """Train one method and write its model folder; continues from a checkpoint of the same run if there is one.

    Parameters
    ----------
    version
        Of the training code; a checkpoint of another version is not resumed.
    settings
        Resolved settings of the method (`module`, `preset` and one entry per setting).
    train, patches
        These blocks of a study; `train` with one `seed` and the `layer_lr` of this method, without `init_from`, and
        with what `redraw.Settings` wants under `redraw`, if sources are drawn anew while training.
    stores
        Paths of the patch stores of `train` and `val` participants.
    card
        What else stands in the model card; `split_sha` tells runs on different splits apart.
    start
        Folder of the model whose weights to start from.
    features
        Files of weights that the method's losses use.
    maps
        Label maps that images are drawn from as well.

    """
    processes.join()
    torch.manual_seed(train["seed"])
    drawn = train.get("redraw")
    train = {name: value for name, value in train.items() if name != "redraw"}
    data = {part: usable(paths) for part, paths in stores.items()}
    network = methods.build(settings, max(store.channels for store in data["train"]))
    own = {name: settings[name] for name in COURSE if settings.get(name) is not None}
    given = own.pop("patch", None)
    if network.dims == 3 and given is None and patches["size"] < network.smallest_patch:
        raise UpfieldError(
            f"config: patches.size is {patches['size']}; {method} needs at least {network.smallest_patch}"
        )
    scales = standardised(data["train"], data["val"])
    volumes = [store.shape for found in data.values() for store in found]
    size = patches["size" if network.dims == 3 else "slice_size"]
    options = Options(
        **{
            **train,
            "patch": tuple(given) if given else patch_shape(network, size, volumes),
            "patch_val": tuple(given) if given else patch_shape(network, size if network.dims == 3 else None, volumes),
            "per_volume": patches["per_volume" if network.dims == 3 else "slices"],
            "per_volume_val": patches["per_volume_val"],
            **own,
        },
        foreground=patches["foreground"],
        brain_share=patches["brain_share"],
    )
    # The stores' bytes too: other preprocessing of the same people is another run.
    contents = [digest(store.path) for found in data.values() for store in found]
    shas = [digest(path) for path in features]
    fit_starts(network, data["train"])
    origin = model.transfer(network, start) if start is not None else None
    known = [version, settings, card["split_sha"], contents, origin, shas]
    redraw = None
    if drawn is not None:
        known += [drawn, [digest(path) for path in maps]]
        how, device = Settings(**drawn, seed=options.seed), choose(options.device)
        redraw = Redraw(how, data["train"], maps, device, max(options.patch))
        if how.keeps_contrast:
            # The targets of the study are on another scale than what is learned here.
            data["val"] = Redraw(replace(how, boxes=0), data["val"], [], device).drawn(VALIDATED)
    trainer = Trainer(network, data["train"], data["val"], options, folder, digest(known), redraw)
    run = trainer.fit(preview)
    if processes.rank() > 0:
        return
    write_history(folder / "history.tsv", run.history)
    if network.noise:
        network.load_state_dict(run.best)
        network.set_std_scale(std_scale(network, data["val"], options, trainer.device, trainer.dtype))
        run.best = dict(network.state_dict())
    values = {key: value for key, value in settings.items() if key not in ("module", "preset")}
    description = {
        "method": method,
        "preset": settings["preset"],
        "module": settings["module"],
        "seed": train["seed"],
        "parameters": parameter_counts(network),
        "settings": values,
        "best_epoch": run.best_epoch,
        f"best_{trainer.validation.criterion}": run.best_value,
        "epochs": run.epoch,
        "steps": run.step,
        "train_seconds": round(run.seconds, 1),
        "device": str(trainer.device),
        "precision": str(trainer.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": processes.count(),
        "dims": network.dims,
        "scale": network.scale,
        "in_channels": network.in_channels,
        "init_from": None if origin is None else {**origin, "model": relative(origin["model"])},
        "standard_scale": scales,
        "perceptual_sha": shas,
        "patch": options.patch,
        "participants": {part: [store.name for store in found] for part, found in data.items()},
        **({} if redraw is None else _drawn_anew(redraw, maps)),
    }
    weights = {name: value for name, value in run.best.items() if name.split(".")[0] not in network.transient}
    model.save(folder, weights, description | dict(card))


def _drawn_anew(redraw: Redraw, maps: Sequence[Path]) -> dict[str, Any]:
    """What a card says of sources that were drawn anew."""
    return {
        KEEPS_CONTRAST: redraw.settings.keeps_contrast,
        "redrawn": {**asdict(redraw.settings), "maps": [path.name for path in maps]},
    }


def patch_shape(method: Method, size: int | None, volumes: Sequence[Sequence[int]]) -> tuple[int, int, int]:
    """Edges of what a method learns from, in voxels of the working grid, rounded up to sizes it takes.

    A cube of `size` voxels for a 3-D method, thinner where no volume has so many (slabs of a few slices), a square of
    an axial slice for a 2-D one. None is the whole slice, as large as the largest of the fold's `volumes` (their
    shapes): smaller ones are padded, never stretched.
    """
    x, y, deepest = (max(shape[axis] for shape in volumes) for axis in range(3))
    if size is not None:
        x = y = size
    wanted = (x, y, min(x, max(deepest, method.smallest_patch)) if method.dims == 3 else 1)
    x, y, z = (-(-edge // multiple) * multiple for edge, multiple in zip(wanted, method.unit, strict=True))
    return x, y, z


def fit_histogram(folder: Path, *, stores: Sequence[str], card: Mapping[str, Any]) -> None:
    """Fit the histogram-matching baseline on training targets and write it as a model folder."""
    started = time.monotonic()
    found = [store for store in usable(stores) if TARGET in store.sides]
    images = ((whole["target"][0].numpy(), whole["mask"][0].numpy() > 0) for whole in (s.whole() for s in found))
    quantiles = torch.from_numpy(histograms.fit_histogram(images)).float()
    write_history(folder / "history.tsv", [])
    description = {
        "method": "histogram_match",
        "preset": "default",
        "parameters": {"quantiles": len(quantiles)},
        "settings": {},
        "train_seconds": round(time.monotonic() - started, 2),
        "participants": {"train": [store.name for store in found]},
    }
    model.save(folder, {"quantiles": quantiles}, description | dict(card))
