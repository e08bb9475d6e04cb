"""Participants who stay together in a split: those of one family, site or scanner."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from upfield.errors import UpfieldError
from upfield.study import participants

KEY = "splits.group"


def of(people: Sequence[str], table: pd.DataFrame, column: str, together: Mapping[str, str]) -> dict[str, str]:
    """The group of each participant: the value in `column` of participants.tsv.

    `together` maps one label of a person to another; groups that share a person are one, called after the first.
    Raises UpfieldError for an unknown column, or somebody without a value.
    """
    participants.check_column(table, column, KEY)
    result = participants.values(people, table, [column], KEY)
    missing = [person for person in people if result.get(person, "").strip() in participants.EMPTY]
    if missing:
        raise UpfieldError(
            f"participants.tsv: no {column} of {participants.some(missing)}; {KEY} needs one for everybody: give a"
            " value (one of its own to somebody who belongs to nobody), or exclude the participant"
        )
    for one, other in together.items():
        if one in result and other in result:
            first, second = sorted((result[one], result[other]))
            result = {person: first if name == second else name for person, name in result.items()}
    return result


def members(group: Mapping[str, str]) -> list[list[str]]:
    """The participants of each group, groups and participants in order."""
    result: dict[str, list[str]] = {}
    for person in sorted(group):
        result.setdefault(group[person], []).append(person)
    return [result[name] for name in sorted(result)]


def deal(
    group: Mapping[str, str], strata: Mapping[str, str], shares: Sequence[float], seed: int, what: str
) -> list[list[str]]:
    """Deal whole groups into bins of `shares` (which sum to 1), as even over the strata as groups allow.

    Large groups go first, in a seeded order where they are as large as others, each to the bin that brings the numbers
    of all bins nearest to their shares of every stratum; the last ones go to bins that are empty still.
    Raises UpfieldError, with `what` was asked for, if there are fewer groups than bins.
    """
    wholes = members(group)
    if len(wholes) < len(shares):
        raise UpfieldError(
            f"config: {what}, but {KEY} makes {len(wholes)} groups of {len(group)} usable participants; expected at"
            f" least {len(shares)}"
        )
    kinds = sorted({strata.get(person, "n/a") for person in group})
    counts = np.array([[sum(strata.get(p, "n/a") == kind for p in whole) for kind in kinds] for whole in wholes])
    wanted = np.outer(shares, counts.sum(axis=0))
    have = np.zeros_like(wanted)
    bins: list[list[str]] = [[] for _ in shares]
    order = np.random.default_rng(seed).permutation(len(wholes))
    order = order[np.argsort(-counts.sum(axis=1)[order], kind="stable")]
    for place, number in enumerate(order):
        empty = [k for k, chosen in enumerate(bins) if not chosen]
        open_bins = empty if len(order) - place <= len(empty) else range(len(bins))
        # A squared distance, relative to what is wanted: a small part is not overfilled before a large one.
        costs = [float(((have[k] + counts[number] - wanted[k]) ** 2 - (have[k] - wanted[k]) ** 2)
                       @ (1 / wanted[k])) for k in open_bins]  # fmt: skip
        best = list(open_bins)[int(np.argmin(costs))]
        have[best] += counts[number]
        bins[best].extend(wholes[number])
    return bins


def check(table: pd.DataFrame, group: Mapping[str, str], column: str) -> None:
    """Raise UpfieldError if a group is on two sides of a fold of `participant_id, fold, split`."""
    for fold, rows in table.groupby("fold", sort=False):
        places: dict[str, tuple[str, str]] = {}
        for person, part in zip(rows["participant_id"], rows["split"], strict=True):
            first, place = places.setdefault(group[person], (person, part))
            if place != part:
                raise UpfieldError(
                    f"splits: {first} and {person} have one {column} ({group[person]:.40}), in {place} and {part} of"
                    f" fold {fold}; {KEY} keeps them together"
                )
