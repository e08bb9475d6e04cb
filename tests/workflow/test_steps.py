"""Rules and the functions that they run: every job names the arguments of its step, all that it needs and no other."""

import inspect
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings
from upfield import step
from upfield.bids.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
# What a step may ask for besides what its rule names.
OFFERED = {"threads", "memory", "config"}
SCAN = "sub-{number:02d}/ses-{session}/anat/sub-{number:02d}_ses-{session}_T1w"


@dataclass
class Named:
    """What a job names."""

    rule: str
    step: str
    names: dict[str, set[str]]
    wildcards: set[str]


def misfits(job):
    """One line for everything in which a job and its step differ."""
    if job.step is None:
        return ["its params name no step"]
    try:
        step.declared(job.step)
        function = step.load(job.step)
    except (ValueError, ImportError, AttributeError, OSError) as error:
        return [f"there is no step {job.step}: {error}"]
    parameters = inspect.signature(function).parameters.values()
    plain = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
    needed = {one.name for one in parameters if one.name in plain and one.default is one.empty}
    named = set().union(*job.names.values())
    lines = [f"{job.step} has no argument {name}" for name in sorted(named - plain) if len(plain) == len(parameters)]
    lines += [f"{job.step} needs {name}" for name in sorted(needed - named - OFFERED - job.wildcards)]
    for (one, first), (other, second) in combinations(job.names.items(), 2):
        lines += [f"{name} is both one of its {one} and of its {other}" for name in sorted(first & second)]
    return lines


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """The jobs that a configuration plans, each rule's once for every set of names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "segmenter").mkdir()
    for name in ("model.json", "model.safetensors"):
        (tmp_path / "segmenter" / name).touch()

    def plan(config, *targets):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"output_dir": str(tmp_path / "out"), **config}))
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            workflow = api.workflow(
                ResourceSettings(cores=1),
                ConfigSettings(configfiles=[path]),
                snakefile=ROOT / "Snakefile",
                workdir=tmp_path,
            )
            workflow.dag(DAGSettings(targets={str(target) for target in targets}, forceall=True)).printd3dag()
            return [named(job) for job in workflow._workflow.dag.jobs if job.rule.script]

    return plan


def named(job):
    parts = {"inputs": job.input, "outputs": job.output, "params": job.params}
    names = {part: {name for name, _ in files.items()} - set(step.FRAME) for part, files in parts.items()}
    return Named(job.rule.name, dict(job.params.items()).get("step"), names, set(job.wildcards_dict))


def report(jobs):
    lines = {f"rule {job.rule}: {line}" for job in jobs for line in misfits(job)}
    return "\n".join(["", *sorted(lines)]) if lines else ""


@pytest.fixture
def dataset(bids_tree):
    """Six participants with two sessions each."""
    scans = [SCAN.format(number=number, session=session) for number in range(1, 7) for session in (1, 2)]
    return bids_tree({f"{scan}.nii.gz": None for scan in scans} | {f"{scan}.json": {} for scan in scans})


def study(dataset, **changes):
    sides = {
        side: {"bids_dir": str(dataset), "entities": {"session": str(n)}} for n, side in ((1, "source"), (2, "target"))
    }
    return {"study": "fake", "train": {"epochs": 1, "seeds": [1, 2]}, **sides, **changes}


EVERYTHING = {"evaluate": {"lesions": True, "audit": True, "segmentation": True}, "predict": {"uncertainty": 2}}


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        (EVERYTHING, {"interpolate", "enhance_with_spread", "lesions", "findings", "calibrate", "reading_set"}),
        ({"evaluate": {"segmentation": "segmenter"}}, {"structures", "segment_structures", "measure"}),
        ({"train": {"seeds": [1]}}, {"enhance", "tissues", "measure", "segment", "summarise", "export", "audit"}),
        (
            {"external": {"other": {"command": ["cp", "{source}", "{output}"], "scale": "fitted"}},
             "evaluate": {"lesions": True}},
            {"run_external", "fit_external", "place_external", "scale_external", "lesions"},
        ),
        (
            {"pairing": "simulated", "source": {"bids_dir": None}, "methods": ["srgan3d"],
             "simulate": {"kind": "gaussian", "factor": 4}},
            {"simulate", "reduce"},
        ),
        (
            {"pairing": "unpaired", "methods": ["cyclegan"], "preprocess": {"spacing": 1.0}},
            {"harmonise", "measure_harmonised", "appearance", "scanners", "normalise"},
        ),
    ],
    ids=["paired", "structures", "one seed", "external", "simulated", "unpaired"],
)  # fmt: skip
def test_jobs_of_a_study_fit_their_steps(planned, dataset, changes, rules):
    jobs = planned(study(dataset, **changes), "report", "reader_study", "qc")
    assert rules <= {job.rule for job in jobs}
    assert report(jobs) == ""


def test_jobs_of_an_applied_model_fit_their_steps(planned, trained, bids_tree, tmp_path):
    scans = bids_tree({"sub-01/anat/sub-01_T2w.nii.gz": None})
    config = {"model": str(trained()), "bids_dir": str(scans)}
    paths = Layout(str(tmp_path / "out" / "apply-unet3d"))
    enhanced = paths("enhanced", method="unet3d").format(folder="sub-01/anat", scan="sub-01", suffix="T2w")
    jobs = planned(config, enhanced, paths("report"))
    assert {"prepare", "screen", "enhance_alone", "applied_report"} <= {job.rule for job in jobs}
    assert report(jobs) == ""


def test_jobs_of_a_model_on_other_data_fit_their_steps(planned, trained, dataset):
    config = study(dataset, model=str(trained()))
    del config["train"]
    for side in ("source", "target"):
        config[side]["entities"]["suffix"] = "T1w"
    jobs = planned(config, "evaluate")
    rules = {job.rule for job in jobs}
    assert {
        "targets_of_model",
        "screen_sources",
        "prepare_tested",
        "enhance_tested",
        "move",
        "validation_report",
    } <= rules
    assert not {"splits", "patch_store", "train_model", "fit_denoise", "interpolate", "enhance"} & rules
    assert report(jobs) == ""


def test_a_rule_that_does_not_fit_is_reported():
    names = {"inputs": {"image"}, "outputs": {"corrected", "nonsense"}, "params": {"enabled", "image"}}
    found = misfits(Named("bias", "preprocess.bias.correct_bias", names, set()))
    assert found == [
        "preprocess.bias.correct_bias has no argument nonsense",
        "preprocess.bias.correct_bias needs mask",
        "image is both one of its inputs and of its params",
    ]
    assert "there is no step preprocess.bias.nothing" in misfits(Named("bias", "preprocess.bias.nothing", {}, set()))[0]
