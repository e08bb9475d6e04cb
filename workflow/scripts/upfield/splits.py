"""Which participant trains, validates and tests: by subject, stratified, frozen in one table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from upfield.errors import UpfieldError
from upfield.files import digest

PARTS = ("train", "val", "test")
COLUMNS = ["participant_id", "fold", "split"]


def assign(participants: Sequence[str], config: Mapping[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """Split participants as `config` (the `splits` block of a study) says.

    Parameters
    ----------
    table
        participants.tsv, for `stratify`; a participant without a row forms a stratum of its own kind (n/a).

    Returns a table `participant_id, fold, split`, one row per participant and fold. The assignment depends on
    the set of participants and the config alone, not on their order.
    Raises UpfieldError if a part would be empty, a column is unknown, or a user's file leaks or misses somebody.

    """
    people = sorted(set(participants))
    if config["file"] is not None:
        return from_file(config["file"], people)
    order = _stratified_order(people, config, table)
    if config["scheme"] == "holdout":
        result = _rows(order, "0", _counts(len(order), config["fractions"]))
    else:
        folds = config["folds"]
        if len(order) < folds:
            raise UpfieldError(f"config: splits.folds is {folds} but only {len(order)} participants are usable")
        dealt = [order[start::folds] for start in range(folds)]
        frames = []
        for k in range(folds):
            test, val = dealt[k], dealt[(k + 1) % folds]
            train = [p for p in order if p not in test and p not in val]
            frames.append(_frame({"train": train, "val": val, "test": test}, str(k)))
        result = pd.concat(frames, ignore_index=True)
    check(result)
    return result


def _stratified_order(people: list[str], config: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    """A seeded shuffle, one stratum after the other, so that evenly spaced picks are balanced over the strata."""
    missing = [column for column in config["stratify"] if column not in table.columns]
    if missing:
        raise UpfieldError(
            f"config: splits.stratify names {missing[0]!r}; participants.tsv has {', '.join(table.columns)}"
        )
    generator = np.random.default_rng(config["seed"])
    shuffled = [people[i] for i in generator.permutation(len(people))]
    lookup = (
        table.set_index("participant_id")[list(config["stratify"])].astype(str).agg("|".join, axis=1)
        if config["stratify"]
        else {}
    )
    strata: dict[str, list[str]] = {}
    for person in shuffled:
        strata.setdefault(str(lookup.get(person, "n/a")), []).append(person)
    return [person for stratum in sorted(strata) for person in strata[stratum]]


def _counts(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Participants per part: rounded, the training part takes the rest, no wanted part empty."""
    counts = {part: max(round(total * fractions[part]), 1) for part in ("val", "test")}
    counts["train"] = total - sum(counts.values())
    if counts["train"] < 1:
        raise UpfieldError(f"splits: {total} usable participants cannot fill train, val and test; expected at least 3")
    return counts


def _rows(order: list[str], fold: str, counts: Mapping[str, int]) -> pd.DataFrame:
    # Evenly spaced picks keep every part balanced over the strata.
    total = len(order)
    parts: dict[str, list[str]] = {}
    rest = list(order)
    for part in ("test", "val"):
        picks = {int((i + 0.5) * len(rest) / counts[part]) for i in range(counts[part])} if counts[part] else set()
        parts[part] = [person for i, person in enumerate(rest) if i in picks]
        rest = [person for i, person in enumerate(rest) if i not in picks]
    parts["train"] = rest
    assert sum(map(len, parts.values())) == total
    return _frame(parts, fold)


def _frame(parts: Mapping[str, Sequence[str]], fold: str) -> pd.DataFrame:
    rows = [(person, fold, part) for part in PARTS for person in sorted(parts[part])]
    return pd.DataFrame(rows, columns=COLUMNS)


def from_file(path: str, people: Sequence[str]) -> pd.DataFrame:
    """A user's own table; only participants that have a usable pair are kept."""
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError):
        raise UpfieldError(
            f"config: splits.file {path} cannot be read; expected a table {', '.join(COLUMNS)}"
        ) from None
    if not set(COLUMNS) <= set(table.columns):
        raise UpfieldError(f"{path}: columns are {', '.join(table.columns)}; expected {', '.join(COLUMNS)}")
    unknown = sorted(set(table["split"]) - set(PARTS))
    if unknown:
        raise UpfieldError(f"{path}: split {unknown[0]!r} is unknown; expected one of {', '.join(PARTS)}")
    missing = sorted(set(people) - set(table["participant_id"]))
    if missing:
        raise UpfieldError(f"{path}: {missing[0]} has a usable pair but no row; give it one, or exclude the scan")
    table = table.loc[table["participant_id"].isin(people), COLUMNS].reset_index(drop=True)
    check(table)
    return table


def check(table: pd.DataFrame) -> None:
    """Raise UpfieldError for a leak (somebody twice in one fold) or a fold with nobody to train on or to test."""
    twice = table[table.duplicated(["participant_id", "fold"])]
    if len(twice):
        row = twice.iloc[0]
        raise UpfieldError(f"splits: {row['participant_id']} is in fold {row['fold']} more than once; that is a leak")
    for fold, rows in table.groupby("fold"):
        for part in PARTS:
            if not (rows["split"] == part).any():
                raise UpfieldError(f"splits: fold {fold} has no {part} participant")


def members(table: pd.DataFrame, fold: str, part: str) -> list[str]:
    """Participants of one part of one fold, in table order."""
    return list(table.loc[(table["fold"] == fold) & (table["split"] == part), "participant_id"])


def fingerprint(table: pd.DataFrame) -> str:
    """Identifies a split; stands in every model card and metric table."""
    return digest(table[COLUMNS].astype(str).sort_values(COLUMNS).values.tolist())
