"""How large a report gets: `python benchmarks/report_size.py results/demo [subjects] [methods]`, after `make demo`.

Shows the test participants and methods of a finished study again and again under new names, until there are as many as
asked for (20 and 9). Prints MB by section: pictures, which are nearly all of it, do not depend on names.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from upfield.files import read_json, read_tsv, write_tsv
from upfield.report import tables
from upfield.report.narrative import Narrative
from upfield.report.page import build
from upfield.report.subject import SubjectImages


def images(root: Path, subjects: int, methods: int) -> list[SubjectImages]:
    """Test participants of a study of pairs, with outputs, until there are enough of both."""
    values = read_tsv(root / "metrics/per_subject.tsv")
    people, named = sorted(set(values["participant_id"])), list(dict.fromkeys(values["method"]))
    pairs = read_tsv(root / "pairs.tsv").set_index("participant_id")
    shown = []
    for number in range(subjects):
        person = people[number % len(people)]
        source, target_name = pairs.loc[person, ["source_name", "target_name"]]
        stem, suffix = target_name.rsplit("_", 1)
        kinds = (f"biascorr_{suffix}", "brain_mask")
        target, mask = (next(root.rglob(f"{stem}_desc-{kind}.nii.gz")) for kind in kinds)
        start = source.rsplit("_", 1)[0]
        outputs = {}
        for place in range(methods):
            method = named[place % len(named)]
            label = method.replace("_", "")
            (path,) = root.rglob(f"{start}_space-target_desc-{label}_{suffix}.nii.gz")
            outputs[method if place < len(named) else f"{method}{place}"] = path
        shown.append(SubjectImages(f"sub-{number:02d}", outputs["identity"], target, mask, outputs))
    return shown


def copied(root: Path, folder: Path, subjects: int, methods: int) -> None:
    """The study's tables, models and pictures in `folder`, the measurements repeated for so many subjects."""
    for path in root.iterdir():
        if path.name != "metrics":
            (folder / path.name).symlink_to(path.resolve())
    for name in tables.COLUMNS:
        path = root / f"{name}.tsv"
        if name.startswith("metrics/") and path.is_file():
            table = read_tsv(path)
            times = max(subjects * methods // 15, 1) if "participant_id" in table else 1
            parts = [table] if times == 1 else [table.assign(participant_id=f"sub-{n:02d}") for n in range(times)]
            write_tsv(folder / f"{name}.tsv", pd.concat(parts))


def main() -> None:
    """Build the report and print its size."""
    root = Path(sys.argv[1])
    subjects, methods = (int(value) for value in (sys.argv[2:] + ["20", "9"][len(sys.argv) - 2 :])[:2])
    card = read_json(next((root / "models").rglob("model.json")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(root, folder, subjects, methods)
        started = time.process_time()
        build(
            folder,
            folder / "page.html",
            config={"study": root.name, "report": {"subjects": subjects}},
            provenance={"git_commit": card.get("git_commit")},
            images=images(root, subjects, methods),
            narrative=Narrative(),
        )
        page = (folder / "page.html").read_text(encoding="utf-8")
    for section in re.split(r'<section id="', page)[1:]:
        print(f"{section.split(chr(34))[0]:16} {len(section.encode()) / 1e6:7.2f} MB")
    print(f"{'whole page':16} {len(page.encode()) / 1e6:7.2f} MB, {subjects} subjects, {methods} methods,"
          f" {time.process_time() - started:.0f} processor seconds")  # fmt: skip


if __name__ == "__main__":
    main()
