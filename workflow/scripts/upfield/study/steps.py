"""The steps that see a study as a whole: what was found, what is left, who is where, and what is trained on whom."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from upfield import bids
from upfield.catalogue.methods import RUNTIME_OPTIONS
from upfield.files import read_json, read_tsv, write_json, write_text, write_tsv
from upfield.step import step
from upfield.study import kinds
from upfield.study import splits as splitting
from upfield.study.card import card_of, domain_of, seen_by
from upfield.study.provenance import record
from upfield.study.study import Study


@step(version=0, memory=(300, 0.2), minutes=(0.2, 0.02))
def inventory(inventory: str, description: str, ignore: str, config: Mapping[str, Any]) -> None:
    """Write every scan found, with its geometry and field strength, and what makes the folder a BIDS dataset."""
    study = kinds.of_pairs(config)
    write_tsv(inventory, bids.inventory_table(study.described()))
    bids.write_description(description, study.config)
    write_text(ignore, bids.IGNORED)
    if study.series:
        bids.describe_converted(f"{study.root}/sourcedata/raw", study.config["study"])


@step(version=0, memory=(300, 0.2), minutes=(0.2, 0.001))
def cohort(pairs: str, excluded: str, config: Mapping[str, Any]) -> None:
    """Write the pairs that are used, and every scan that is not, with the reason."""
    study = kinds.of_pairs(config)
    used, left_out = study.design.cohort(
        study.index,
        (study.preprocessed, lambda scan: study.paths("preprocessed", scan)),
        lambda store: study.paths("quality", store=store),
    )
    write_tsv(pairs, bids.pairs_table(used))
    write_tsv(excluded, bids.excluded_table([*study.index.excluded, *left_out]))


@step(version=0, memory=(100, 0.1), minutes=(0.1, 0.001))
def freeze_splits(excluded: str, splits: str, assignment: Sequence[Sequence[str]], config: Mapping[str, Any]) -> None:
    """Write the split that was planned (`assignment`) without those who were excluded; nobody else moves."""
    study = Study(config, rescan=False)
    table = pd.DataFrame(assignment, columns=splitting.COLUMNS)
    write_tsv(splits, study.design.kept(study.index, table, read_tsv(excluded)))


@step(version=1, memory=(5000, 1), minutes=(0, 0), threads=None)
def train_model(
    train_stores: Sequence[str],
    val_stores: Sequence[str],
    splits: str,
    start: Sequence[str],
    features: Sequence[str],
    plan: str | Sequence[str],
    model: str,
    card: str,
    history: str,
    settings: Mapping[str, Any],
    train: Mapping[str, Any],
    patches: Mapping[str, Any],
    method: str,
    fold: str,
    seed: str,
    config: Mapping[str, Any],
    maps: Sequence[str] = (),
) -> None:
    """Train one method on the stores of a fold and write its model, card and history, all in one folder.

    `settings` are those of the method, `train` and `patches` these blocks of the study; `start` are files of the model
    that training starts from, `features` those of weights that its losses use, `plan` that of its plan, if it
    has one, whose settings take the place of these; `maps` are label maps to draw images from. Where the study asks for
    several processes, each runs the script that called this.
    """
    from upfield.training import preview, processes
    from upfield.training import run as training

    if processes.launch(config["train"]["processes"], sys.argv[0]):
        return
    folder = Path(model).parent
    # Not from `train`: another number of workers is no reason to train again.
    options = {key: config["train"][key] for key in RUNTIME_OPTIONS}
    study = Study(config, rescan=False)
    known = seen_by(study, fold, method)
    training.train_model(
        folder,
        method=method,
        version=train_model.step.version,  # type: ignore[attr-defined]
        settings=read_json(plan)["settings"] if isinstance(plan, str) else settings,
        train={**train, **options, "seed": int(seed)},
        patches=patches,
        stores={"train": train_stores, "val": val_stores},
        card={"fold": fold, **card_of(study, fold), **_provenance(config, splits), **known},
        start=Path(start[0]).parent if start else None,
        features=[Path(path) for path in features],
        maps=[Path(path) for path in maps],
        preview=lambda epoch, panels: preview.write(folder / "figures" / f"epoch-{epoch:04d}.png", panels),
    )


@step(version=0, memory=(800, 1), minutes=(0.1, 0.02))
def fit_histogram(
    train_stores: Sequence[str],
    splits: str,
    model: str,
    card: str,
    history: str,
    fold: str,
    seed: str,
    config: Mapping[str, Any],
) -> None:
    """Fit the histogram-matching baseline on the training targets and write it as a model folder."""
    from upfield.training import run as training

    training.fit_histogram(Path(model).parent, stores=train_stores, card=_of_fitted(config, splits, fold, seed))


@step(version=1, memory=(3000, 1), minutes=(60, 0.1))
def fit_denoise(
    train: Sequence[Mapping[str, str]],
    val: Sequence[Mapping[str, str]],
    splits: str,
    model: str,
    card: str,
    history: str,
    fold: str,
    seed: str,
    config: Mapping[str, Any],
) -> None:
    """Tune the denoising baseline and write it as a model folder; `train` and `val` are files of pairs."""
    from upfield.training import denoising

    parts = {name: [denoising.Pair(**files) for files in part] for name, part in (("train", train), ("val", val))}
    denoising.fit_denoise(Path(model).parent, **parts, card=_of_fitted(config, splits, fold, seed))


@step(version=0, memory=(3000, 1), minutes=(60, 0.1))
def fit_external(
    train: Sequence[Mapping[str, Any]],
    val: Sequence[Mapping[str, Any]],
    splits: str,
    model: str,
    card: str,
    history: str,
    method: str,
    fold: str,
    seed: str,
    config: Mapping[str, Any],
) -> None:
    """Fit the intensity curve of an external method and write it as a model folder; `train`, `val`: files of pairs."""
    from upfield.training import external

    parts = {name: [external.Pair(**files) for files in part] for name, part in (("train", train), ("val", val))}
    external.fit_external(Path(model).parent, method, **parts, card=_of_fitted(config, splits, fold, seed))


def _of_fitted(config: Mapping[str, Any], splits: str, fold: str, seed: str) -> dict[str, Any]:
    """What the card of a fitted baseline says of where it comes from."""
    return {"fold": fold, "seed": int(seed), **_provenance(config, splits)}


@step(version=0, memory=(300, 0.2), minutes=(0.2, 0.001))
def typical_targets(typical: str, fold: str, config: Mapping[str, Any]) -> None:
    """Write what a fold's training targets are like, `domain.target` of the cards of its models."""
    write_json(typical, domain_of(Study(config, rescan=False), fold)["target"])


def _provenance(config: Mapping[str, Any], splits: str) -> dict[str, Any]:
    return record(config, splitting.fingerprint(read_tsv(splits)))
