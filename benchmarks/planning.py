"""How long planning takes: `python benchmarks/planning.py [participants] [--plain]`.

Makes a fake dataset (two sessions a participant, images of a few bytes), then measures in one run

- the dry run of a study of it, five folds, against that of a bare Snakefile with as many empty rules: the same jobs and
  dependencies without scripts, parameters, logs, benchmarks, environments or groups;
- the first and the second reading of the dataset;
- the start of a cluster job: the Snakefile is read, the dataset is not.

With `--plain` it measures instead what the replacements of rules/planning.smk buy: the dry run with all of them, with
none, and with each one left out, in turns.

Processor seconds of each, so that what else the machine does matters little.
"""

import argparse
import gzip
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SESSIONS = ("low", "high")
FOLDS = 5

STUDY = """
study: planning
output_dir: {folder}/results
source: {{bids_dir: {folder}/bids, entities: {{session: low, suffix: T1w}}}}
target: {{bids_dir: {folder}/bids, entities: {{session: high, suffix: T1w}}}}
splits: {{scheme: kfold, folds: 5}}
"""

# One line for each kind of job: output, inputs. {{x}} is a wildcard.
BARE = """
PEOPLE = [f"sub-{{i:04d}}" for i in range(1, {people} + 1)]
FOLD = {{person: i % 5 for i, person in enumerate(PEOPLE)}}
SESSIONS, NETWORKS, OTHERS = ["low", "high"], ["unet3d", "gan"], ["identity", "spline", "histogram"]
SCAN = "out/{{p}}/ses-{{s}}/anat/{{p}}_ses-{{s}}"
RAW = "{folder}/bids/{{p}}/ses-{{s}}/anat/{{p}}_ses-{{s}}_T1w.nii.gz"
SAME = dict(allow_missing=True)
HIGH = SCAN.replace("{{s}}", "high")
PAIR = expand(SCAN + "_{{k}}", s=SESSIONS, k=["bias", "mask"], **SAME)
WHOLE = [*PAIR, *expand(SCAN + "_preproc", s=SESSIONS, **SAME), "out/{{p}}/transform"]
TESTED = [
    *expand("out/{{p}}/{{m}}", m=NETWORKS + OTHERS, **SAME), HIGH + "_bias", HIGH + "_mask",
    *expand(SCAN + "_preproc", s=SESSIONS, **SAME),
]


def learners(wildcards):
    return [f"out/stores/{{p}}" for p in PEOPLE if FOLD[p] != int(wildcards.f)]


wildcard_constraints: p=r"sub-\\d+", s="low|high", n="|".join(NETWORKS), o="|".join(OTHERS), f=r"\\d"

rule all:
    input:
        "out/report", "out/export", expand("out/{{p}}/{{m}}", p=PEOPLE, m=NETWORKS + OTHERS)
rule inventory:
    input: expand(RAW, p=PEOPLE, s=SESSIONS)
    output: "out/inventory"
rule validate:
    output: "out/validation"
rule brain:
    input: RAW
    output: SCAN + "_mask"
rule bias:
    input: RAW, SCAN + "_mask"
    output: SCAN + "_bias"
rule register:
    input: PAIR
    output: "out/{{p}}/transform"
rule quality:
    input: PAIR, "out/{{p}}/transform"
    output: "out/quality/{{p}}"
rule quality_figures:
    input: PAIR, "out/{{p}}/transform"
    output: "out/pictures/{{p}}"
rule quality_table:
    input: expand("out/quality/{{p}}", p=PEOPLE)
    output: "out/quality_table"
rule standardise:
    input: SCAN + "_bias", SCAN + "_mask", HIGH + "_mask", "out/{{p}}/transform", "out/quality/{{p}}"
    output: SCAN + "_preproc"
rule cohort:
    input: "out/inventory", expand(SCAN + "_preproc", p=PEOPLE, s=SESSIONS), expand("out/quality/{{p}}", p=PEOPLE)
    output: "out/cohort"
rule splits:
    input: "out/cohort"
    output: "out/splits"
rule store:
    input: expand(SCAN + "_preproc", s=SESSIONS, **SAME), HIGH + "_mask"
    output: "out/stores/{{p}}"
rule histogram:
    input: "out/splits", learners
    output: "out/models/histogram_{{f}}"
rule train:
    input: "out/splits", learners
    output: "out/models/{{n}}_{{f}}"
rule interpolate:
    input: WHOLE, lambda w: f"out/models/histogram_{{FOLD[w.p]}}" if w.o == "histogram" else []
    output: "out/{{p}}/{{o}}"
rule enhance:
    input: WHOLE, lambda w: f"out/models/{{w.n}}_{{FOLD[w.p]}}"
    output: "out/{{p}}/{{n}}"
rule tissues:
    input: HIGH + "_bias", HIGH + "_mask"
    output: "out/tissues/{{p}}"
rule measure:
    input: TESTED, "out/tissues/{{p}}"
    output: "out/metrics/{{p}}"
rule segment:
    input: TESTED, "out/tissues/{{p}}"
    output: "out/segmented/{{p}}"
rule audit:
    input: TESTED
    output: "out/audit/{{p}}"
rule findings:
    input: expand("out/audit/{{p}}", p=PEOPLE)
    output: "out/findings"
rule summarise:
    input: expand("out/{{x}}/{{p}}", x=["metrics", "segmented"], p=PEOPLE)
    output: "out/tables"
rule export:
    input: "out/tables"
    output: "out/export"
rule report:
    input:
        "out/tables", "out/findings", "out/quality_table", "out/validation", expand("out/pictures/{{p}}", p=PEOPLE)
    output: "out/report"
"""


def write_dataset(folder: Path, people: int) -> None:
    """BIDS, each image 8 voxels cubed."""
    folder.mkdir()
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "Planning", "BIDSVersion": "1.10.0"}))
    data = np.random.default_rng(0).integers(1, 100, (8, 8, 8)).astype(np.int16)
    image = gzip.compress(nib.Nifti1Image(data, np.diag([20.0, 20, 20, 1])).to_bytes())
    for number in range(1, people + 1):
        for session in SESSIONS:
            path = folder / f"sub-{number:04d}/ses-{session}/anat/sub-{number:04d}_ses-{session}_T1w.nii.gz"
            path.parent.mkdir(parents=True)
            path.write_bytes(image)


def measured(command: list[str], folder: Path, plain: str = "") -> tuple[float, str]:
    """Processor seconds of a command that must succeed, and what it said; `plain`: replacements left out."""
    environment = os.environ | {"UPFIELD_PLAIN": plain}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return sum(
        getattr(after, key) - getattr(before, key) for key in ("ru_utime", "ru_stime")
    ), done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("participants", nargs="?", type=int, default=1000)
    parser.add_argument("--plain", action="store_true", help="what each replacement of rules/planning.smk buys")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "bids", options.participants)
        (folder / "study.yaml").write_text(STUDY.format(folder=folder))
        snakemake = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1", "--nocolor"]
        study = [*snakemake, "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(folder / "study.yaml")]
        if options.plain:
            compare_replacements(study)
        else:
            compare_with_bare(options.participants, folder, snakemake, study)


def compare_replacements(study: list[str]) -> None:
    """Print the dry run's seconds with all replacements, none, and each left out, and the ratios; the best of two."""
    names = re.findall(r'^    "(\w+)": replace_', (ROOT / "rules" / "planning.smk").read_text(), re.MULTILINE)
    left_out = ["", "all", *names]
    times: dict[str, list[float]] = {plain: [] for plain in left_out}
    # The first reads the dataset; the others have its index.
    measured(study, ROOT)
    for _ in range(2):
        for plain in left_out:
            times[plain].append(measured(study, ROOT, plain)[0])
            print(f"without {plain or 'nothing'}: {times[plain][-1]:.2f} s", flush=True)
    best = {plain: min(seconds) for plain, seconds in times.items()}
    for plain, seconds in best.items():
        print(f"without {plain or 'nothing'}: {seconds:.2f} s, {seconds / best['']:.3f} times")


def compare_with_bare(people: int, folder: Path, snakemake: list[str], study: list[str]) -> None:
    """Print the dry run's seconds beside those of empty rules, and those of reading the dataset."""
    (folder / "bare").mkdir()
    (folder / "bare" / "Snakefile").write_text(BARE.format(people=people, folder=folder))
    parse = [sys.executable, "-c", PARSE, str(ROOT), str(folder / "study.yaml")]
    first, second, job = (float(measured([*parse, word], ROOT)[1].split()[0]) for word in ("first", "again", "job"))
    rows = []
    for _ in range(2):
        (ours, said), (bare, said_bare) = measured(study, ROOT), measured(snakemake, folder / "bare")
        jobs, bare_jobs = (int(re.findall(r"^total +(\d+)", text, re.MULTILINE)[0]) for text in (said, said_bare))
        rows.append((ours, bare))
        print(f"dry run {ours:.1f} s, bare {bare:.1f} s", flush=True)
    ours, bare = (min(times) for times in zip(*rows, strict=True))
    scan = "folder=sub-0001/ses-low/anat,scan=sub-0001_ses-low"
    job_only = ["--target-jobs", f"brain:{scan}", "--allowed-rules", "brain", "--mode", "remote", "--nolock"]
    start = min(measured([*study, *job_only], ROOT)[0] for _ in range(2))
    print(f"participants {people}, jobs {jobs} (bare: {bare_jobs}), processors {os.cpu_count()}")
    print(f"dry run {ours:.1f} s, bare {bare:.1f} s: {ours / bare:.2f} times")
    print(f"index: first {first:.2f} s, again {second:.2f} s, in a job {job:.2f} s; a job's own start {start:.1f} s")


PARSE = """
import sys, time, yaml
sys.path.insert(0, sys.argv[1] + "/workflow/scripts")
from pathlib import Path
from upfield.study.index import build_index
from upfield.files import merged
load = lambda path: yaml.safe_load(Path(path).read_text())
config = merged(load(sys.argv[1] + "/config/config.yaml"), load(sys.argv[2]))
cache = Path(config["output_dir"]) / config["study"] / ".upfield" / "index.json"
started = time.process_time()
build_index(config, cache, rescan=sys.argv[3] != "job")
print(time.process_time() - started)
"""

if __name__ == "__main__":
    main()
