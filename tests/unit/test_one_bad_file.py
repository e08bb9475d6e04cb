"""One bad file of each kind in a study of six: the plan is made, the other five are in it, and something says why."""

import shutil
from pathlib import Path

import pytest
import yaml
from upfield import foreign
from upfield.files import merged
from upfield.study.application import Application, resolve
from upfield.study.study import Study

ROOT = Path(__file__).resolve().parents[2]


def link_to_nothing(path):
    path.unlink(missing_ok=True)
    path.symlink_to("../../../.git/annex/objects/aa/bb/MD5E-s1--0")


def folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def holds(content):
    return lambda path: path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


# What is done to a file, and what is said then; text that can be understood is no reason to say anything.
IMAGES = {
    "link to nothing": (link_to_nothing, "does not exist"),
    "empty": (holds(b""), "cannot be read as NIfTI"),
    "text": (holds(b"fetch me first"), "cannot be read as NIfTI"),
    "cut": (cut, "cannot be read as NIfTI"),
    "folder": (folder, ""),
}
TEXTS = {
    "link to nothing": (link_to_nothing, "not there"),
    "folder": (folder, "no file"),
    "empty": (holds(b""), "empty"),
    "control characters": (holds(b"\x00\x05\x16\x07" + bytes(64)), "no text"),
}
SIDECARS = TEXTS | {
    "list": (holds(b'["MagneticFieldStrength", 3]'), "a list"),
    "cut": (holds(b'{"MagneticFieldStrength": '), "no JSON"),
    "deep": (holds(b"[" * 100_000), "no JSON"),
    "field strength": (holds(b'{"MagneticFieldStrength": ["3"]}'), "taken as unknown"),
    "Latin-1": (holds('{"InstitutionName": "München"}'.encode("latin-1")), ""),
    "UTF-16": (holds('{"MagneticFieldStrength": 3}'.encode("utf-16")), ""),
    "macOS": (lambda path: path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\xb0"), ""),
}
TABLES = TEXTS | {
    "Latin-1": (holds("participant_id\tname\nsub-1\tMüller\n".encode("latin-1")), ""),
    "another column": (holds(b"id\tage\n01\t3\n"), ""),
    "commas": (holds(b"participant_id,age\nsub-1,3\n"), ""),
    "ragged": (holds(b"participant_id\tage\nsub-1\t3\twithdrew\tfar\n"), ""),
}
PLACES = {
    "image of the source": ("{source}.nii.gz", IMAGES),
    "image of the target": ("{target}.nii.gz", IMAGES),
    "sidecar of the source": ("{source}.json", SIDECARS),
    "sidecar of the target": ("{target}.json", SIDECARS),
    "sidecar of all": ("T1w.json", SIDECARS),
    "participants.tsv": ("participants.tsv", TABLES),
    "scans.tsv": ("sub-3/ses-1/sub-3_ses-1_scans.tsv", TABLES),
}
KINDS = [(place, kind) for place, (_, kinds) in PLACES.items() for kind in kinds]
# Every kind in a study of pairs; in the others one kind of each place, since there is one reader for all.
CASES = [("paired", *case) for case in KINDS] + [
    (pairing, place, "link to nothing")
    for pairing in ("newest", "simulated", "unpaired", "samples", "apply")
    for place in PLACES
]
SIDES = {"source": "sub-3/ses-1/anat/sub-3_ses-1_T1w", "target": "sub-3/ses-2/anat/sub-3_ses-2_T1w"}


@pytest.fixture
def plan(bids_tree, tmp_path, trained):
    """Plan a study of a kind, of six people in two sessions."""
    names = [f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_T1w" for n in range(1, 7) for s in (1, 2)]
    root = bids_tree({f"{name}.nii.gz": None for name in names} | {f"{name}.json": {} for name in names})

    def make(kind):
        sides = {
            side: {"bids_dir": str(root), "entities": {"session": str(number)}}
            for number, side in enumerate(("source", "target"), start=1)
        }
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        given = {"output_dir": str(tmp_path / "out"), **sides, "pairing": kind}
        if kind == "apply":
            given = {"output_dir": str(tmp_path / "out"), "model": trained(), "bids_dir": str(root)}
            given["source"] = {"entities": {"session": "1", "suffix": "T1w"}}
            return Application(resolve(merged(config, given), given))
        if kind == "samples":
            rows = [f"{n}\t{root}/{names[2 * n - 2]}.nii.gz\t{root}/{names[2 * n - 1]}.nii.gz" for n in range(1, 7)]
            table = tmp_path / "samples.tsv"
            table.write_text("\n".join(["participant_id\tsource\ttarget", *rows]) + "\n")
            given |= {"samples": str(table), "pairing": "paired"}
        elif kind == "unpaired":
            given |= {"methods": ["cyclegan"], "duplicates": "newest"}
        elif kind == "newest":
            given |= {"pairing": "paired", "duplicates": "newest"}
        return Study(merged(config, given))

    make.root = root
    return make


def people(made):
    """Those who are in a study with all their scans, and the reasons of those who are not."""
    if isinstance(made, Application):
        return {scan.participant for scan in made.scans.values()}, [row.reason for row in made.excluded]
    made.folds  # noqa: B018
    index = made.index
    if made.design.name == "unpaired":
        cohorts = [{scan.original for scan in index.used if scan.role == side} for side in SIDES]
        return set.intersection(*cohorts), [row.reason for row in index.excluded]
    return set(made.pairs), [row.reason for row in index.excluded]


@pytest.mark.parametrize(("pairing", "place", "kind"), CASES)
def test_the_other_five_are_planned(plan, caplog, pairing, place, kind):
    name, kinds = PLACES[place]
    damage, words = kinds[kind]
    path = plan.root / name.format(**SIDES)
    path.parent.mkdir(parents=True, exist_ok=True)
    damage(path)
    foreign.warn.cache_clear()
    found, reasons = people(plan(pairing))
    everybody = {f"sub-{n}" for n in range(1, 7)}
    if not place.startswith("image"):
        assert found == everybody
    elif found == everybody:
        # Simulation has no source, and a model that is applied no target.
        assert (pairing, place) in [("simulated", "image of the source"), ("apply", "image of the target")]
    else:
        assert found == everybody - {"sub-3"}
        assert any(words in reason for reason in reasons)
    if place.startswith("sidecar of the source") and words and pairing != "simulated":
        assert words in caplog.text and path.stem in caplog.text


def test_one_row_of_a_table_of_samples(plan, tmp_path):
    made = plan("samples")
    table = tmp_path / "samples.tsv"
    rows = table.read_text().splitlines()
    for number, row in enumerate(["3\tnowhere.nii.gz\t", "A 3\tx\ty", "3", "3\t\t", f"3\t{plan.root}\t{tmp_path}/out"]):
        table.write_text("\n".join([*rows[:3], row, *rows[4:]]) + "\n")
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        (tmp_path / "out").mkdir()
        made = Study(made.config)
        assert set(made.pairs) == {f"sub-{n}" for n in (1, 2, 4, 5, 6)}, number
