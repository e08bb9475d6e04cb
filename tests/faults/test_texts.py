"""Damaged sidecars and tables of others, through what asks for them: taken as text says, or one line."""

import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upfield import foreign
from upfield.bids import cohorts, samples, tables
from upfield.bids.acquired import acquisition_time
from upfield.bids.find import find
from upfield.bids.sidecars import Sidecars
from upfield.evaluate import atlas
from upfield.files import read_tsv, write_tsv
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.study import splits

from .conftest import outcome
from .mutate import altered, damaged

FIELDS = {
    "MagneticFieldStrength": 3,
    "Manufacturer": "Siemens",
    "ManufacturersModelName": "Prisma",
    "AcquisitionDateTime": "2019-03-12T10:11:12",
    "DeviceSerialNumber": "1670241",
    "EchoTime": 0.00226,
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "global": {"const": {"a": [1, 2, {"b": None}]}},
}
WANTED = {"MagneticFieldStrength": {"min": 2.5, "max": 3.5}, "Manufacturer": ["Siemens", "GE"], "EchoTime": 0.00226}
PEOPLE = [f"sub-{number:02d}" for number in range(1, 7)]
PARTS = ["train", "train", "train", "val", "test", "test"]
TABLES = {
    "participants.tsv": "participant_id\tsex\tage\n" + "".join(f"{name}\tM\t3{at}\n" for at, name in enumerate(PEOPLE)),
    "scans.tsv": "filename\tacq_time\nanat/sub-01_T1w.nii.gz\t2019-03-12T10:11:12\n",
    "samples.tsv": "participant_id\tsource\ttarget\tsession\n01\ta.nii\tb.nii\t1\n02\ta.nii\tn/a\t\n",
    "pairs.tsv": "source\ttarget\n01\t02\nsub-03\tsub-04\n",
    "splits.tsv": "participant_id\tfold\tsplit\n"
    + "".join(f"{name}\t0\t{part}\n" for name, part in zip(PEOPLE, PARTS, strict=True)),
    "names.tsv": "index\tname\n1\tcortex\n2\tthalamus\n",
}  # fmt: skip
SPLITS = {
    "file": None,
    "group": None,
    "stratify": ["sex"],
    "scheme": "holdout",
    "seed": 1,
    "fractions": {"train": 0.5, "val": 0.25, "test": 0.25},
}


def unfit(values: list[object]) -> str:
    """What of some texts could not stand in a table or a line."""
    return next((f"{text!r:.200} was taken" for text in values if any(c in str(text) for c in "\n\r\t\0")), "")


@pytest.fixture
def dataset(tmp_path):
    """One scan with a sidecar."""
    folder = tmp_path / "bids"
    (folder / "sub-01/anat").mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.10.0"}')
    volume = Volume(np.random.default_rng(0).uniform(1, 9, (5, 6, 7)).astype(np.float32), np.diag([9.0, 9, 9, 1]))
    nifti.save(volume, folder / "sub-01/anat/sub-01_T1w.nii.gz")
    return folder


def test_damaged_sidecars(tries, tally, dataset, tmp_path, caplog):
    caplog.set_level("CRITICAL")
    rows = tally("sidecars")
    image = dataset / "sub-01/anat/sub-01_T1w.nii.gz"
    listed = [Path("sub-01/anat/sub-01_T1w.nii.gz")]

    def use() -> str:
        sidecars = Sidecars(dataset)
        found = find(dataset, "source", {"suffix": "T1w"}, WANTED, listed, True, sidecars)
        find(dataset, "source", {"suffix": "T1w"}, {"ImageType": "ORIGINAL"}, listed, False, sidecars)
        find(dataset, "source", {}, {}, listed, True, sidecars)
        fields, damage = sidecars.fields(image)
        known = foreign.understood(fields, "a")
        names = [known[key] for key in ("Manufacturer", "ManufacturersModelName") if key in known]
        json.dumps(known.get("MagneticFieldStrength"), allow_nan=False)
        " ".join(map(str, names)).encode()
        if damage and (fields or "\n" in damage or len(damage) > 400):
            return f"{damage!r:.600} with {fields!r:.100}"
        wanted = [scan for scan in found if not scan.problem]
        if wanted and not 2.5 <= float(known["MagneticFieldStrength"]) <= 3.5:
            return f"taken with {known!r:.300}"
        return unfit([*names, *(scan.problem for scan in found)])

    for try_ in tries(200):
        dice = random.Random(f"sidecar {try_}")
        path = image.with_name("sub-01_T1w.json")
        if dice.random() < 0.5:
            path.write_text(json.dumps(altered(FIELDS, dice)))
        else:
            encoding = dice.choice(("utf-8", "utf-8-sig", "utf-16", "latin-1"))
            path.write_bytes(damaged(json.dumps(FIELDS, indent=2).encode(encoding), dice))
        rows.check(str(try_), outcome(use))
    rows.done()


def _participants(path: Path) -> str:
    table = tables.participants_table({"source": str(path.parent)})
    result = splits.assign(PEOPLE, SPLITS, table)
    if sorted(result["participant_id"]) != PEOPLE:
        return "participants are missing from the split"
    return unfit(table["participant_id"].tolist())


def _scans(path: Path) -> str:
    # Each table is read once.
    folder = Path(tempfile.mkdtemp(dir=path.parent)) / "sub-01"
    (folder / "anat").mkdir(parents=True)
    (folder / "anat/sub-01_T1w.nii.gz").touch()
    path.replace(folder / "sub-01_scans.tsv")
    return unfit([acquisition_time(folder / "anat/sub-01_T1w.nii.gz", {})])


def _samples(path: Path) -> str:
    found = samples.read_samples(path, {"source": "T1w", "target": "T1w"}, path.parent / "converted")
    taken = [scan for scan in found if not scan.problem]
    return next((f"{scan!r:.300}" for scan in taken if not scan.participant.removeprefix("sub-").isalnum()), "")


def _pairs(path: Path) -> str:
    return unfit([name for pair in cohorts.read_links(path) for name in pair])


def _splits(path: Path) -> str:
    table = splits.from_file(str(path), PEOPLE)
    return "" if set(table["participant_id"]) == set(PEOPLE) else "participants are missing from the split"


def _names(path: Path) -> str:
    return unfit(list(atlas.region_names(str(path)).values()))


USES = {
    "participants.tsv": _participants,
    "scans.tsv": _scans,
    "samples.tsv": _samples,
    "pairs.tsv": _pairs,
    "splits.tsv": _splits,
    "names.tsv": _names,
}


def test_damaged_tables(tries, tally, tmp_path, caplog):
    caplog.set_level("CRITICAL")
    rows = tally("tables")
    for name, content in TABLES.items():
        for try_ in tries(35):
            dice = random.Random(f"{name} {try_}")
            path = tmp_path / name
            encoding = dice.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
            path.write_bytes(damaged(content.encode(encoding), dice))
            rows.check(f"{name} {try_}", outcome(lambda name=name, path=path: USES[name](path)))
    rows.done()


def test_what_a_table_says_survives_being_written(tries, tally, tmp_path):
    """Cells of others go into tables of a study, row by row."""
    rows = tally("cells of tables")
    for try_ in tries(60):
        path = tmp_path / "a.tsv"
        path.write_bytes(damaged(TABLES["participants.tsv"].encode(), random.Random(f"cells {try_}")))

        def use(path: Path = path) -> str:
            table = foreign.read_table(path)
            write_tsv(tmp_path / "b.tsv", table)
            again = read_tsv(tmp_path / "b.tsv")
            return "" if len(again) == len(table) and isinstance(again, pd.DataFrame) else "rows were lost"

        rows.check(str(try_), outcome(use))
    rows.done()
