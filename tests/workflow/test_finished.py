"""What a finished study plans after a part of it was lost, or a limit changed: stubs of all its files, touched."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    RerunTrigger,
    ResourceSettings,
)
from upfield.bids.layout import kind_of
from upfield.study import outputs

ROOT = Path(__file__).resolve().parents[2]
STUDY = {
    "study": "finished",
    "output_dir": "out",
    "phantom": {"subjects": 6, "seed": 42, "spacing": 2.0},
    "methods": ["cyclegan"],
    "train": {"seeds": [1, 2]},
    "qc": {"thresholds": {"mask_dice": {"min": 0.7, "action": "warn"}}},
    **{
        side: {"bids_dir": "phantom", "entities": {"session": session, "suffix": "T1w"}}
        for side, session in (("source", "64mT"), ("target", "3T"))
    },
}
TRIGGERS = frozenset({RerunTrigger.MTIME, RerunTrigger.PARAMS, RerunTrigger.INPUT})
GOOD = {"source": {"snr": 10.0}, "target": {"snr": None}, "pair": {"mask_dice": 0.9, "mirror_gain": 0.5}}
TARGETS = {"report", "train", "predict", "evaluate", "preprocess", "qc", "patches", "ingest", "put_aside"}


def run(folder, *targets, touch=False, **changes):
    """The jobs, but for targets, that a run in `folder` has to do; with `touch` they are done, on stubs."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes))
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            ResourceSettings(cores=1), ConfigSettings(configfiles=[path]), snakefile=ROOT / "Snakefile", workdir=folder
        )
        dag = workflow.dag(DAGSettings(targets=set(targets), rerun_triggers=TRIGGERS))
        dag.execute_workflow(executor="touch") if touch else dag.printd3dag()
        return [job for job in workflow._workflow.dag.needrun_jobs() if job.rule.name not in TARGETS]


def count(jobs):
    return Counter(job.rule.name for job in jobs)


def stub(path):
    """What may stand in a file for planning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.name == "audit" and not path.suffix:
        path.mkdir(exist_ok=True)
        return
    quality = {"participant_id": path.stem, **GOOD, "Findings": []}
    said = quality if path.parent.name == "participants" and path.suffix == ".json" else {"Sources": ["bids::sub-01/x"]}
    path.write_text(json.dumps(said))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    jobs = run(folder)
    for path in (folder / path for job in jobs for path in job.output):
        stub(path)
    run(folder, touch=True)
    return folder


@pytest.fixture
def finished(made, tmp_path):
    """A copy of a finished study, with times, and with what Snakemake remembers of it."""
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def limits(smallest, action="warn"):
    return {"qc": {"thresholds": {"mask_dice": {"min": smallest, "action": action}}}}


def test_whatever_part_was_lost_is_made_again(finished):
    assert run(finished) == run(finished, "train") == []
    root = finished / "out" / "finished"
    # With the target known, and as applied.
    predicted, applied = sorted(root.glob("sub-*/*/anat/*_desc-unet3d_T1w.json"), reverse=True)
    lost = [
        "models/unet3d/fold-0_seed-1/model.safetensors",
        "models/unet3d/fold-0_seed-2/history.tsv",
        "models/cyclegan/fold-0_seed-2/model.json",
        "models/histogram_match/fold-0_seed-1/model.safetensors",
        predicted.relative_to(root).as_posix(),
        applied.relative_to(root).as_posix(),
        "models/targets_fold-0.json",
        "metrics/as_applied.tsv",
        "metrics/outliers.tsv",
        "metrics/structures.tsv",
        "metrics/lohiresgan/cyclegan.csv",
        "excluded.tsv",
        ".bidsignore",
    ]
    early = [
        "sub-01/ses-3T/anat/sub-01_ses-3T_desc-brain_mask.json",
        "sub-02/ses-64mT/anat/sub-02_ses-64mT_desc-biascorr_T1w.json",
        "sub-03/ses-64mT/anat/sub-03_ses-64mT_from-target_to-source_mode-image_xfm.json",
        "sub-04/ses-3T/anat/sub-04_ses-3T_space-target_desc-preproc_T1w.json",
    ]
    for name in [*lost, *early]:
        (root / name).unlink()
    made_again = {Path(path).relative_to("out/finished").as_posix() for job in run(finished) for path in job.output}
    assert set(lost) | set(early) <= made_again
    by_training = {Path(path).name for job in run(finished, "train") for path in job.output}
    assert {Path(name).name for name in early} | {"model.safetensors"} <= by_training
    assert not any(name.endswith("_desc-unet3d_T1w.json") for name in by_training)


def test_an_image_in_the_middle_is_made_again_only_where_it_is_needed(finished):
    for path in (finished / "out" / "finished").rglob("*_desc-biascorr_*"):
        path.unlink()
    assert run(finished) == []


def test_a_limit_that_changes_no_verdict_runs_quality_control_alone(finished):
    alone = {"quality": 6, "quality_table": 1, "html_report": 1}
    assert count(run(finished, **limits(0.95))) == alone
    assert count(run(finished, **limits(0.5, "exclude"))) == alone
    # Somebody who is excluded, and will be.
    reason = "quality: Mask overlap is 0.2; qc.thresholds.mask_dice expects at least 0.5"
    decision = {"Excluded": reason, "Role": "pair"}
    root = finished / "out" / "finished"
    for path, said in (
        (root / "qc/participants/sub-01.json", {"pair": {"mask_dice": 0.2}, **decision}),
        *((path, {"Excluded": reason}) for path in root.glob("sub-01/*/anat/*_desc-preproc_T1w.json")),
    ):
        status = path.stat()
        path.write_text(json.dumps(json.loads(path.read_text()) | said))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    other = {
        "qc": {"thresholds": {"mask_dice": {"min": 0.5, "action": "exclude"}, "snr": {"min": 20, "action": "warn"}}}
    }
    assert count(run(finished, **other)) == alone
    # Whose verdict is another is prepared again, with all that follows.
    changed = run(finished, **limits(0.1, "exclude"))
    assert {job.wildcards_dict["scan"][:6] for job in changed if job.rule.name == "standardise"} == {"sub-01"}
    assert count(changed)["cohort"] == count(changed)["splits"] == 1


def test_what_is_left_over_is_put_aside(finished, caplog):
    root = finished / "out" / "finished"
    assert run(finished, "put_aside") == []
    (job,) = run(finished, "put_aside", methods=[])
    assert [Path(path).relative_to("out/finished").as_posix() for path in job.output] == [".upfield/aside/1/files.tsv"]
    assert job.resources.mem_mb > 0 and "not of this study any more" in caplog.text
    assert (root / "models/cyclegan").is_dir(), "a plan moves nothing"


@pytest.mark.parametrize(
    "changes",
    [
        {"splits": {"scheme": "kfold", "folds": 3}, "evaluate": {"lesions": True}, "methods": ["unet3d_patchgan"],
         "preprocess": {"template": {"name": "MNI152NLin2009cAsym"}, "registration": {"transform": "syn"}}},
        {"pairing": "simulated", "source": {"bids_dir": None}, "methods": ["srgan3d"],
         "simulate": {"kind": "gaussian", "factor": 4}},
        {"pairing": "unpaired", "methods": ["cyclegan"], "preprocess": {"spacing": 1.0}, "pairs": "pairs.tsv"},
        {"duplicates": "average", "methods": ["lohiresgan"],
         "source": {"channels": [{"suffix": "T1w"}, {"suffix": "T2w"}]}},
    ],
    ids=["template", "simulated", "unpaired", "contrasts"],
)  # fmt: skip
def test_whatever_a_study_writes_is_of_it(changes, bids_tree, tmp_path):
    """Or it would be put aside."""
    scans = [f"sub-{number:02d}/ses-{session}/anat/sub-{number:02d}_ses-{session}"
             for number in range(1, 7) for session in (1, 2)]  # fmt: skip
    content = {f"{scan}_{suffix}.nii.gz": None for scan in scans for suffix in ("T1w", "T2w", "run-2_T1w")}
    folder = str(bids_tree(content))
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n01\t01\n")
    sides = {
        side: {"bids_dir": folder, "entities": {"session": str(number), "suffix": "T1w"}, **changes.get(side, {})}
        for number, side in ((1, "source"), (2, "target"))
    }
    jobs = run(tmp_path, "report", "reader_study", **{**changes, **sides, "phantom": None})
    study = jobs[0].rule.workflow.globals["STUDY"]
    made = {Path(path).relative_to(study.root).as_posix() for job in jobs for path in job.output}
    made = {path for path in made if not path.startswith("sourcedata/")}
    assert len(made) > 100 and made - outputs.written(study) == set()
    # No kind of file is overlooked.
    kinds = (*outputs.FIXED, *outputs.LOOKED_FOR)
    assert [path for path in made if kind_of(path, outputs.KNOWN, kinds) is None] == []
