"""Which participant trains, validates and tests: by subject, stratified, frozen in one table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from upfield.errors import UpfieldError
from upfield.files import digest
from upfield.foreign import read_table, warn
from upfield.study import groups, participants

PARTS = ("train", "val", "test")
COLUMNS = ["participant_id", "fold", "split"]
# Every group tests once, and trains nothing that is tested on it.
LEAVE_ONE_OUT = "leave_one_group_out"


def check_config(config: Mapping[str, Any]) -> None:
    """Raise UpfieldError, one line that names the key, for a `splits` block that contradicts itself."""
    shares = config["fractions"]
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise UpfieldError(
            f"config: splits.fractions sum to {sum(shares.values()):g}; expected 1 (found {dict(shares)})"
        )
    if config["scheme"] == LEAVE_ONE_OUT and config["group"] is None:
        raise UpfieldError(
            f"config: splits.scheme is {LEAVE_ONE_OUT}, but splits.group is null; expected a column of participants.tsv"
        )


def assign(people: Sequence[str], config: Mapping[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    """Split participants as `config` (the `splits` block of a study) says.

    Parameters
    ----------
    table
        participants.tsv, for `stratify`, where a participant without a row is of a stratum of its own kind (n/a), and
        for `group`, which everybody must have.

    Returns a table `participant_id, fold, split`, one row per participant and fold. The assignment depends on
    the set of participants and the config alone, not on their order.
    Raises UpfieldError if a part would be empty, a column is unknown, or a user's file leaks or misses somebody.

    """
    people = sorted(set(people))
    group = _groups(people, config, table, {})
    if config["file"] is not None:
        result = from_file(config["file"], people)
        if group:
            groups.check(result, group, config["group"])
        return result
    if group:
        result = _deal_groups(group, _strata(people, config, table), config)
        check(result)
        return result
    result = _deal(_stratified_order(people, config, table), config)
    check(result)
    return result


def needs_table(config: Mapping[str, Any]) -> bool:
    """Whether the `splits` block asks for participants.tsv."""
    return config["group"] is not None or (bool(config["stratify"]) and config["file"] is None)


def _groups(
    people: list[str], config: Mapping[str, Any], table: pd.DataFrame, together: Mapping[str, str]
) -> dict[str, str]:
    """The group of everybody; empty where the study has none."""
    return {} if config["group"] is None else groups.of(people, table, config["group"], together)


def _deal_groups(group: Mapping[str, str], strata: Mapping[str, str], config: Mapping[str, Any]) -> pd.DataFrame:
    """The parts of every fold, of whole groups."""
    scheme = config["scheme"]
    if scheme == "holdout":
        shares = [config["fractions"][part] for part in PARTS]
        bins = groups.deal(group, strata, shares, config["seed"], f"splits.scheme is {scheme}")
        return _frame(dict(zip(PARTS, bins, strict=True)), "0")
    if scheme == "kfold":
        folds = config["folds"]
        return _folds(groups.deal(group, strata, [1 / folds] * folds, config["seed"], f"splits.folds is {folds}"))
    wholes = groups.members(group)
    if len(wholes) < len(PARTS):
        raise UpfieldError(
            f"config: splits.scheme is {scheme}, but {groups.KEY} makes {len(wholes)} groups of {len(group)} usable"
            f" participants; expected at least {len(PARTS)}: one tests, the next validates, the others train"
        )
    return _folds(wholes)


def _deal(order: list[str], config: Mapping[str, Any]) -> pd.DataFrame:
    """The parts of every fold, picked from `order` at even distances."""
    if config["scheme"] == "holdout":
        return _rows(order, "0", _counts(len(order), config["fractions"]))
    _check_folds(order, config)
    return _folds([order[start :: config["folds"]] for start in range(config["folds"])])


def _check_folds(people: Sequence[str], config: Mapping[str, Any]) -> None:
    if len(people) < config["folds"]:
        raise UpfieldError(f"config: splits.folds is {config['folds']} but only {len(people)} participants are usable")


def _folds(tests: Sequence[Sequence[str]]) -> pd.DataFrame:
    """A fold for each group of people: that group tests, the next validates, the others train."""
    frames = []
    for k, test in enumerate(tests):
        val = tests[(k + 1) % len(tests)]
        train = [person for group in tests for person in group if person not in test and person not in val]
        frames.append(_frame({"train": train, "val": val, "test": test}, str(k)))
    return pd.concat(frames, ignore_index=True)


def assign_cohorts(
    cohorts: tuple[Sequence[str], Sequence[str]],
    together: Mapping[str, str],
    config: Mapping[str, Any],
    table: pd.DataFrame,
) -> pd.DataFrame:
    """Split the source and the target participants of an unpaired study, each in the fractions or folds of `config`.

    `together` maps a target participant to the source participant who is the same person: both are in one part, and
    the other targets are dealt so that the parts of the targets come as near to their sizes as they can. Otherwise
    as `assign`. Raises UpfieldError also if somebody of a user's file is on two sides of a split.
    """
    sources, targets = (sorted(set(people)) for people in cohorts)
    everybody = sorted([*sources, *targets])
    group = _groups(everybody, config, table, together)
    if config["file"] is not None:
        result = from_file(config["file"], everybody)
        if group:
            groups.check(result, group, config["group"])
    elif group:
        strata = _strata(everybody, config, table)
        # Each cohort in the fractions or folds.
        sides = {person: f"{person in targets}|{strata.get(person, 'n/a')}" for person in everybody}
        result = _deal_groups(group, sides, config)
    else:
        # Those who are in both cohorts come first, so that picks at even distances are balanced over them.
        order = _stratified_order(sources, config, table)
        result = _deal(sorted(order, key=lambda person: person not in together.values()), config)
        free = [person for person in _stratified_order(targets, config, table) if person not in together]
        tied = [person for person in targets if person in together]
        if config["scheme"] == "holdout":
            place = dict(zip(result["participant_id"], result["split"], strict=True))
            counts = _counts(len(targets), config["fractions"])
            left = {part: max(n - sum(place[together[p]] == part for p in tied), 0) for part, n in counts.items()}
            followers = _frame({part: [p for p in tied if place[together[p]] == part] for part in PARTS}, "0")
            result = pd.concat([result, _rows(free, "0", left), followers], ignore_index=True)
        else:
            _check_folds(targets, config)
            tests = result[result["split"] == "test"].set_index("participant_id")["fold"]
            dealt = [[p for p in tied if tests[together[p]] == str(k)] for k in range(config["folds"])]
            for person in free:
                min(dealt, key=len).append(person)
            result = pd.concat([result, _folds(dealt)], ignore_index=True)
        result = result.sort_values("fold", kind="stable", key=lambda folds: folds.astype(int), ignore_index=True)
    check(result)
    check_cohorts(result, (sources, targets), together)
    return result


def check_cohorts(
    table: pd.DataFrame, cohorts: tuple[Sequence[str], Sequence[str]], together: Mapping[str, str]
) -> None:
    """Raise UpfieldError for a part without source or target, or one person in two parts of a fold under two names."""
    for fold, rows in table.groupby("fold"):
        place = dict(zip(rows["participant_id"], rows["split"], strict=True))
        for side, people in zip(("source", "target"), cohorts, strict=True):
            for part in PARTS:
                if part not in {place.get(person) for person in people}:
                    raise UpfieldError(f"splits: fold {fold} has no {part} participant of the {side}")
        leak = next(((t, s) for t, s in together.items() if t in place and s in place and place[t] != place[s]), None)
        if leak is not None:
            raise UpfieldError(
                f"splits: {leak[1]} and {leak[0]} are one person, in {place[leak[1]]} and {place[leak[0]]} of fold"
                f" {fold}; that is a leak"
            )


def _stratified_order(people: list[str], config: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    """A seeded shuffle, one stratum after the other, so that evenly spaced picks are balanced over the strata."""
    generator = np.random.default_rng(config["seed"])
    shuffled = [people[i] for i in generator.permutation(len(people))]
    lookup = _strata(people, config, table)
    strata: dict[str, list[str]] = {}
    for person in shuffled:
        strata.setdefault(lookup.get(person, "n/a"), []).append(person)
    return [person for stratum in sorted(strata) for person in strata[stratum]]


def _strata(people: Sequence[str], config: Mapping[str, Any], table: pd.DataFrame) -> dict[str, str]:
    """The stratum of each participant who has a row in participants.tsv; who has none is named in the log."""
    for column in config["stratify"]:
        participants.check_column(table, column, "splits.stratify")
    if not config["stratify"]:
        return {}
    result = participants.values(people, table, config["stratify"], "splits.stratify")
    missing = [person for person in people if person not in result]
    if missing:
        warn(f"participants.tsv has no row for {participants.some(missing)}: they are not stratified")
    return result


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
    table = read_table(path, COLUMNS, "config: splits.file", filled=COLUMNS)
    # Some write 01 for sub-01.
    table["participant_id"] = [f"sub-{name.removeprefix('sub-')}" for name in table["participant_id"]]
    for line, fold, part in zip(table.index, table["fold"], table["split"], strict=True):
        if part not in PARTS:
            raise UpfieldError(
                f"{path}, line {line}: split {part!r:.40} is unknown; expected one of {', '.join(PARTS)}"
            )
        if not (fold.isascii() and fold.isalnum()):
            raise UpfieldError(f"{path}, line {line}: fold is {fold!r:.40}; expected letters and digits only")
    missing = sorted(set(people) - set(table["participant_id"]))
    if missing:
        raise UpfieldError(f"{path}: {missing[0]} has a usable pair but no row; give it one, or exclude the scan")
    table = table.loc[table["participant_id"].isin(people), COLUMNS].reset_index(drop=True)
    check(table)
    return table


def without(table: pd.DataFrame, lost: Iterable[str]) -> pd.DataFrame:
    """A split without some participants; nobody else moves. Raises UpfieldError if a part of a fold is empty now."""
    left = ~table["participant_id"].isin(list(lost))
    for (fold, part), rows in table.groupby(["fold", "split"], sort=False):
        if not left[rows.index].any():
            gone = participants.some(rows["participant_id"].tolist())
            raise UpfieldError(
                f"splits: fold {fold} has no {part} participant left: {gone} excluded, see excluded.tsv for the"
                " reasons; mend their scans, or give this part more participants"
            )
    return table[left].reset_index(drop=True)


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


def parts(table: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Participants of each part of each fold, by fold and part, in table order."""
    return {key: list(people) for key, people in table.groupby(["fold", "split"], sort=False)["participant_id"]}


def fingerprint(table: pd.DataFrame) -> str:
    """Identifies a split; stands in every model card and metric table."""
    return digest(table[COLUMNS].astype(str).sort_values(COLUMNS).values.tolist())


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """How participants were divided, as a clause; empty if it is not known."""
    settings = config.get("splits", {})
    group = settings.get("group")
    schemes = {
        "holdout": "a hold-out split",
        "kfold": f"{settings.get('folds')}-fold cross-validation",
        LEAVE_ONE_OUT: f"leave-one-{group}-out cross-validation",
    }
    if settings.get("scheme") not in schemes:
        return ""
    seed = "" if settings["scheme"] == LEAVE_ONE_OUT else f" (seed {settings.get('seed', 'n/a')})"
    kept = "" if group is None else f", nor are two of one {group}"
    return f"participants were divided by {schemes[settings['scheme']]}{seed}; no participant is on two sides{kept}"
