"""What the workflow plans: dry runs on BIDS datasets of a few bytes, and what it says to a mistaken config."""

import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests import forked

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["ingest", "preprocess", "qc", "split", "patches", "train", "predict", "evaluate", "report"]
BASELINES = ["identity", "spline", "histogram_match", "denoise", "unet3d"]


@dataclass
class Job:
    """One job of a dry run."""

    rule: str
    fields: dict[str, str]

    def paths(self, key):
        return self.fields.get(key, "").split(", ")

    @property
    def wildcards(self):
        pairs = self.fields.get("wildcards", "")
        return dict(pair.split("=", 1) for pair in pairs.split(", ") if pair)


def snakemake(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SNAKEMAKE")}
    return forked.run(["--dry-run", "--cores", "1", *map(str, arguments)], ROOT, environment, timeout=120)


def plan(*arguments):
    """The jobs of a dry run that must succeed."""
    done = snakemake(*arguments)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    # Jobs of a group are indented once more.
    blocks = re.findall(r"^( *)(?:local)?rule (\w+):\n((?:\1    .*\n)+)", text, re.MULTILINE)
    return [Job(name, dict(re.findall(r"^ +(\w+): (.*)$", body, re.MULTILINE))) for _, name, body in blocks]


def count(jobs):
    return Counter(job.rule for job in jobs)


def outputs(jobs):
    return {path for job in jobs for path in job.paths("output") if path}


@pytest.fixture
def dataset(bids_tree):
    """Participants with a poor session 1 and a good session 2; sub-05 never came back."""
    content = {
        f"sub-{number:02d}/ses-{session}/anat/sub-{number:02d}_ses-{session}_T1w.{extension}": what
        for number in range(1, 7)
        for session in (1, 2)
        for extension, what in (("nii.gz", None), ("json", {"MagneticFieldStrength": (0.064, 3)[session - 1]}))
        if (number, session) != (5, 2)
    }
    return bids_tree(content)


@pytest.fixture
def configfile(dataset, tmp_path):
    """Write a study of `dataset`, with changes, and return the arguments that choose it."""

    def write(**changes):
        study = {
            "study": "fake",
            "output_dir": str(tmp_path / "out"),
            "source": {"bids_dir": str(dataset), "entities": {"session": "1"}},
            "target": {"bids_dir": str(dataset), "entities": {"session": "2"}},
            "train": {"epochs": 1},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study | changes))
        return ["--configfile", path]

    return write


def test_whole_study_is_planned_before_anything_runs(configfile, dataset, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    jobs = plan(*configfile())
    found = count(jobs)
    pairs, methods = 5, 6
    test = found["measure"]
    assert test == 1
    assert found == {
        "inventory": 1,
        "validate": 1,
        "brain": 2 * pairs,
        "bias": 2 * pairs,
        "register": pairs,
        "quality": pairs,
        "quality_figures": pairs,
        "quality_table": 1,
        "standardise": 2 * pairs,
        "cohort": 1,
        "splits": 1,
        "patch_store": pairs - test,
        "write_plan": 1,
        "train_model": 2,
        "fit_histogram": 1,
        "fit_denoise": 1,
        "interpolate": 4 * test,
        "enhance": (methods - 4) * test,
        "tissues": test,
        "measure": test,
        "segment": test,
        "audit": test,
        "findings": 1,
        "summarise": 1,
        "export": 1,
        "typical_targets": 1,
        "prepare_tested": test,
        "enhance_tested": (methods - 4) * test,
        "rescale": 3 * test,
        "measure_as_applied": test,
        "as_applied": 1,
        "measure_as_others": test,
        "as_others_count": 1,
        "html_report": 1,
        "report": 1,
    }
    root = tmp_path / "out" / "fake"
    made = outputs(jobs)
    assert all(Path(path).is_relative_to(root) for path in made)
    tables = ["dataset_description.json", "inventory.tsv", "pairs.tsv", "excluded.tsv", "splits.tsv"]
    metrics = [f"metrics/{name}.tsv" for name in ("per_subject", "leaderboard", "comparisons")]
    models = [
        f"models/{method}/fold-0_seed-42/{name}"
        for method in ("unet3d", "upfield", "histogram_match", "denoise")
        for name in ("model.safetensors", "model.json", "history.tsv")
    ]
    (person,) = [job.wildcards["participant"] for job in jobs if job.rule == "measure"]
    scans = [
        f"{person}/ses-1/anat/{person}_ses-1_{name}"
        for name in (
            "space-target_desc-preproc_T1w.nii.gz",
            "space-target_desc-preproc_T1w.json",
            "desc-brain_mask.nii.gz",
            "from-source_to-target_mode-image_xfm.txt",
            *(f"space-target_desc-{method.replace('_', '')}_T1w.nii.gz" for method in [*BASELINES, "upfield"]),
        )
    ]
    expected = {str(root / name) for name in [*tables, *metrics, *models, *scans, "report/index.html"]}
    assert expected - made == set()
    for job in jobs:
        if job.rule not in TARGETS:
            assert Path(job.fields["log"]).is_relative_to(root / "logs"), job
            assert Path(job.fields["benchmark"]).is_relative_to(root / "benchmarks"), job
    # Somebody with one session is listed in the inventory and nowhere else.
    assert {job.rule for job in jobs if "sub-05" in str(job)} == {"inventory"}
    # Nobody is trained on and tested.
    trained = [job for job in jobs if job.rule == "train_model"]
    assert all(person not in job.fields["input"] for job in trained)
    # Planning leaves an index behind, so that jobs need not look through the dataset again, and nothing more.
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["index.json"]
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before, "datasets are only read"


def test_every_stage_is_a_target_and_folders_may_come_from_the_command_line(configfile, dataset, tmp_path):
    nothing = {"entities": {"session": "1"}}, {"entities": {"session": "2"}}
    chosen = configfile(source=nothing[0], target=nothing[1])
    folders = [f"{side}={{bids_dir: {dataset}}}" for side in ("source", "target")]
    jobs = plan(*TARGETS, *chosen, "--config", "study=renamed", *folders)
    found = count(jobs)
    assert [name for name in TARGETS if found[name] != 1] == []
    assert found["register"] == found["patch_store"] == 5
    assert all(Path(path).is_relative_to(tmp_path / "out" / "renamed") for path in outputs(jobs))


def test_stage_asks_for_what_it_needs_and_no_more(configfile):
    found = count(plan("train", *configfile()))
    assert found["train_model"] == 2 and found["standardise"] == 10 and found["splits"] == 1
    later = ["interpolate", "enhance", "measure", "summarise", "html_report", "predict", "evaluate", "report"]
    assert [name for name in later if found[name]] == []


def test_acquisitions_of_a_session_are_one_where_the_study_wants_that(configfile, dataset):
    folder = dataset / "sub-01/ses-1/anat"
    shutil.copy(folder / "sub-01_ses-1_T1w.nii.gz", folder / "sub-01_ses-1_run-2_T1w.nii.gz")
    memory = []
    for duplicates in ("average", "combine"):
        jobs = plan("preprocess", *configfile(duplicates=duplicates))
        (job,) = [job for job in jobs if job.rule == "average"]
        assert {Path(path).name for path in job.paths("input")} == {
            "sub-01_ses-1_T1w.nii.gz", "sub-01_ses-1_run-2_T1w.nii.gz",
        }  # fmt: skip
        (made,) = [path for path in job.paths("output") if path.endswith(".nii.gz")]
        (brain,) = [job for job in jobs if job.rule == "brain" and made in job.paths("input")]
        memory.append(int(re.search(r"mem_mb=(\d+)", job.fields["resources"])[1]))
    # Which of the two steps it is shows in what it needs.
    assert memory[0] < memory[1]
    assert "average" not in count(plan("preprocess", *configfile())) and brain.wildcards["scan"] == "sub-01_ses-1"


def test_simulated_study_needs_targets_only(configfile, tmp_path):
    jobs = plan(*configfile(pairing="simulated", source={"bids_dir": None}))
    found = count(jobs)
    pairs = 5
    assert found["simulate"] == found["register"] == pairs
    assert found["standardise"] == found["brain"] == 2 * pairs
    assert "ses-1" not in str(jobs)
    native = {path for job in jobs if job.rule == "simulate" for path in job.paths("output")}
    assert any(path.endswith("sub-06_ses-2_rec-simulated_desc-simulated_T1w.nii.gz") for path in native), native
    (source,) = [job for job in jobs if job.rule == "bias" and "sub-06_ses-2_rec-simulated" in job.fields["output"]]
    assert set(source.paths("input")) & native


def test_a_segmenter_needs_label_maps_and_no_scan(tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    for number in range(4):
        (labels / f"map-{number}.nii.gz").touch()
    example = ["--configfile", ROOT / "config/examples/anatomy.yaml", "--config"]
    chosen = [*example, f"output_dir={tmp_path / 'out'}", f"anatomy={{labels: {labels}}}"]
    for targets in ([], ["anatomy"]):
        jobs = plan(*targets, *chosen)
        assert count(jobs) == {"train_segmenter": 1, "anatomy": 1}
        names = ("model.safetensors", "model.json", "history.tsv")
        assert outputs(jobs) == {str(tmp_path / "out/anatomy/models/anatomy" / name) for name in names}
    done = snakemake(*example, f"anatomy={{labels: {tmp_path}}}")
    assert done.returncode and f"anatomy.labels is {tmp_path}, where no label map" in done.stdout + done.stderr


def test_a_study_with_scans_trains_a_segmenter_by_name_alone(configfile, tmp_path):
    for number in range(2):
        (tmp_path / f"map-{number}.nii.gz").touch()
    chosen = configfile(anatomy={"labels": str(tmp_path)})
    assert "train_segmenter" not in count(plan(*chosen))
    assert count(plan("anatomy", *chosen)) == {"train_segmenter": 1, "anatomy": 1}
    done = snakemake("anatomy", *configfile())
    assert (
        done.returncode and "anatomy is not set; the target anatomy needs anatomy.labels" in done.stdout + done.stderr
    )


def test_methods_that_enlarge_get_sources_on_their_own_grids(configfile, tmp_path):
    methods = ["srdcgan", "srgan3d", "lohiresgan"]
    jobs = plan(*configfile(methods=methods, method_overrides={"srgan3d": {"factor": 2}}))
    found = count(jobs)
    pairs = 5
    assert found["reduce"] == 2 * pairs and found["standardise"] == 2 * pairs
    source = str(tmp_path / "out" / "fake") + "/sub-06/ses-1/anat/sub-06_ses-1_space-target{}_desc-preproc_T1w.nii.gz"
    small = {scale: source.format(f"_res-{scale}") for scale in ("4x4x1", "2x2x2")}
    (store,) = [job for job in jobs if job.rule == "patch_store" and job.wildcards["store"] == "sub-06"]
    assert {source.format(""), *small.values()} <= set(store.paths("input"))
    (person,) = [job.wildcards["participant"] for job in jobs if job.rule == "measure"]
    inputs = {job.wildcards["label"]: set(job.paths("input")) for job in jobs if job.rule == "enhance"}
    assert set(inputs) == {"unet3d", *methods}
    for method, scale in (("srdcgan", "4x4x1"), ("srgan3d", "2x2x2")):
        assert small[scale].replace("sub-06", person) in inputs[method]
    assert not any("_res-" in path for method in ("unet3d", "lohiresgan") for path in inputs[method])


def test_folds_times_methods_times_seeds_are_trained(configfile):
    splits = {"scheme": "kfold", "folds": 3}
    jobs = plan(*configfile(splits=splits, methods=["unet3d_patchgan"], train={"epochs": 1, "seeds": [1, 2]}))
    models = {
        tuple(job.wildcards[key] for key in ("method", "fold", "seed")) for job in jobs if job.rule == "train_model"
    }
    expected = {(m, f, s) for m in ("unet3d", "unet3d_patchgan") for f in "012" for s in "12"}
    assert models == expected
    found = count(jobs)
    assert found["train_model"] == len(expected)
    assert found["fit_histogram"] == found["fit_denoise"] == 3
    # Everybody is tested once, by the two models (seeds) of a fold that did not learn from them.
    assert found["measure"] == found["calibrate"] == 5
    assert found["enhance_with_spread"] == 10 and found["interpolate"] == 20
    learned = {
        (job.wildcards["method"], job.wildcards["fold"]): job.fields["input"]
        for job in jobs
        if job.rule == "train_model"
    }
    for job in jobs:
        if job.rule == "enhance_with_spread":
            person = job.wildcards["scan"].split("_")[0]
            weights = [path for path in job.paths("input") if path.endswith("model.safetensors")]
            assert len(weights) == 2
            method, fold = re.search(r"models/(\w+)/fold-(\w)_", weights[0]).groups()
            assert person not in learned[method, fold]


def test_heads_take_the_place_of_brains_where_scans_are_cut(configfile, trained, bids_tree, tmp_path):
    jobs = plan(*configfile(preprocess={"region": "head"}))
    assert count(jobs)["head"] == count(jobs)["brain"] == 10
    read = {rule: {path for job in jobs if job.rule == rule for path in job.paths("input")} for rule in count(jobs)}
    assert len([path for path in read["standardise"] if path.endswith("_desc-head_mask.nii.gz")]) == 10
    assert all("_desc-brain_mask" not in path for path in read["patch_store"])
    for rule in ("register", "quality", "measure"):
        assert not any("_desc-head_mask" in path for path in read[rule]), rule
    preprocess = {"spacing": 1.0, "n4": True, "brain": {"method": "deepbet"}, "normalize": {"method": "percentile"}}
    model = trained(preprocess=preprocess | {"region": "head"})
    scans = bids_tree({"sub-01/anat/sub-01_T2w.nii.gz": None}, "scans")
    jobs = plan("apply", "--config", f"model={model}", f"bids_dir={scans}", f"output_dir={tmp_path}/out")
    assert count(jobs) == {"brain": 1, "bias": 1, "head": 1, "prepare": 1, "apply": 1}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"settings": 3, "predicted": {}, "device": {}}'])
def test_a_damaged_plan_is_one_line(configfile, tmp_path, content):
    path = tmp_path / "out" / "fake" / "models" / "upfield" / "fold-0" / "plan.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    done = snakemake(*configfile(methods=["upfield"]))
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "plan.json" in said and "Traceback" not in said


def test_slurm_gets_one_submission_for_a_participant_and_stage(configfile):
    done = snakemake(*configfile(splits={"scheme": "kfold", "folds": 5}), "--profile", "profiles/slurm")
    assert done.returncode == 0, done.stderr[-3000:]
    groups = Counter(re.findall(r"Group job (\w+)", done.stdout + done.stderr))
    pairs, networks = 5, 2
    assert groups["preprocess"] == groups["evaluate"] == pairs
    # One model's predictions of up to ten participants.
    assert sum(count for name, count in groups.items() if name.startswith("enhance_")) == networks


def test_demo_is_planned_before_its_scans_exist(tmp_path):
    folders = [f"{side}={{bids_dir: {tmp_path}/phantom}}" for side in ("source", "target")]
    jobs = plan("--profile", "profiles/demo", "--config", f"output_dir={tmp_path}/out", *folders)
    found = count(jobs)
    subjects = yaml.safe_load((ROOT / "config/examples/demo.yaml").read_text())["phantom"]["subjects"]
    assert found["phantom_subject"] == found["register"] == subjects
    assert found["phantom_dataset"] == found["html_report"] == 1
    made = {path for path in outputs(jobs) if path.startswith(f"{tmp_path}/phantom/")}
    assert len([path for path in made if path.endswith(".nii.gz")]) == 2 * subjects
    assert not (tmp_path / "phantom").exists()


def test_trained_model_is_applied_to_whatever_scans_there_are(trained, bids_tree, tmp_path):
    names = ["sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2", "sub-02/anat/sub-02_run-1"]
    scans = bids_tree({f"{name}_T2w.nii.gz": None for name in names} | {"sub-02/anat/sub-02_T1w.nii.gz": None})
    jobs = plan("apply", "--config", f"model={trained()}", f"bids_dir={scans}", f"output_dir={tmp_path}/out")
    # What is enhanced is known once the scans have been screened.
    assert count(jobs) == {"brain": 3, "bias": 3, "prepare": 3, "apply": 1}
    made = outputs(jobs)
    assert {f"{tmp_path}/out/apply-unet3d/{name}_desc-preproc_T2w.nii.gz" for name in names} <= made
    assert all(path.startswith(f"{tmp_path}/out/apply-unet3d/") for path in made)
    assert not any("T1w" in path for path in made)


def test_trained_model_takes_scans_to_its_template(trained, bids_tree, tmp_path):
    preprocess = {"spacing": 1.0, "n4": True, "brain": {"method": "none"}, "normalize": {"method": "percentile"},
                  "template": {"name": "MNI305", "image": None, "mask": None, "transform": "syn"}}  # fmt: skip
    scans = bids_tree({"sub-01/anat/sub-01_T2w.nii.gz": None})
    model = trained(preprocess=preprocess)
    jobs = plan("apply", "--config", f"model={model}", f"bids_dir={scans}", f"output_dir={tmp_path}/out")
    assert count(jobs) == {"template": 1, "brain": 1, "bias": 1, "to_template": 1, "prepare": 1, "apply": 1}
    here = f"{tmp_path}/out/apply-unet3d/sub-01/anat/sub-01"
    wanted = {f"{here}_space-MNI305_desc-preproc_T2w.nii.gz", f"{here}_from-source_to-MNI305_mode-image_xfm.nii.gz"}
    assert wanted <= outputs(jobs)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["bids_dir=/data"], ["bids_dir is set and model is not"]),
        (["model=/no/such/model", "bids_dir=/data"], ["model is /no/such/model", "no model.json"]),
        (["model={model}"], ["bids_dir is not set"]),
        (["model={model}", "bids_dir=/data", "preprocess={n4: false}"], ["preprocess has no effect with model"]),
        (["model={model}", "target={bids_dir: /data}"], ["source.bids_dir is not set"]),
    ],
)
def test_mistake_in_applying_stops_with_one_line(trained, said, words):
    folder = trained()
    given = [word.replace("{model}", folder) for word in said]
    done = snakemake("apply", "--config", *given)
    assert done.returncode != 0
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("config: ")]
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trian": {"epochs": 3}}, ["config: trian is not a known key", "did you mean train?"]),
        ({"preprocess": {"brain": {"metod": "none"}}}, ["preprocess.brain.metod is not a known key", "method?"]),
        ({"patches": {"size": "big"}}, ["config: patches.size is 'big'", "expected a whole number"]),
        ({"methods": ["unet3d_patchgam"]}, ["methods names 'unet3d_patchgam'", "did you mean unet3d_patchgan?"]),
        (
            {"pairing": "simulated", "simulate": {"kind": "inplane", "factor": 2}, "methods": ["srdcgan"]},
            ["simulate.factor is 2", "srdcgan enlarges by 4 x 4 x 1"],
        ),
        ({"target": {"bids_dir": "/no/such/study"}}, ["target.bids_dir is /no/such/study", "which is not there"]),
    ],
)
def test_mistake_stops_the_run_with_one_line(configfile, tmp_path, change, words):
    done = snakemake(*configfile(**change))
    assert done.returncode != 0
    text = done.stdout + done.stderr
    (line,) = [line for line in text.splitlines() if line.startswith("config: ")]
    assert [word for word in words if word not in line] == []
    assert "Traceback" not in text
    assert not re.search(r"^(?:local)?rule \w+:", text, re.MULTILINE)
    assert not (tmp_path / "out").exists()


def test_dicom_series_of_a_table_are_converted_first(configfile, dataset, tmp_path):
    """Three of a table's scans are files, three are DICOM series."""
    lines = ["participant_id\tsource\ttarget"]
    for number in (1, 2, 3):
        series = tmp_path / f"series-{number}"
        series.mkdir()
        (series / "1.dcm").write_bytes(b"not read when a study is planned")
        lines.append(
            f"{number:02d}\t{series.name}\t{dataset}/sub-{number:02d}/ses-2/anat/sub-{number:02d}_ses-2_T1w.nii.gz"
        )
    table = tmp_path / "samples.tsv"
    table.write_text("\n".join(lines) + "\n")
    sides = {side: {"bids_dir": None, "entities": {"suffix": "T1w"}} for side in ("source", "target")}
    jobs = plan("preprocess", *configfile(samples=str(table), **sides))
    found = count(jobs)
    assert (found["dicom"], found["brain"], found["register"]) == (3, 6, 3)
    converted = tmp_path / "out/fake/sourcedata/raw/sub-02/anat/sub-02_rec-source_T1w.nii.gz"
    assert str(converted) in outputs(jobs)


CHAIN = """
include: "{root}/rules/planning.smk"
rule last:
    input: "second"
    output: "last"
    group: "outer"
rule second:
    input: "first"
    output: "second"
    group: "{group}"
rule first:
    output: "first"
    group: "outer"
"""


@pytest.mark.parametrize(("group", "fits"), [("outer", True), ("inner", False)])
def test_a_group_that_would_wait_for_itself_stops_the_plan(group, fits, tmp_path):
    """Our check of groups instead of Snakemake's; jobs that stay in one group may depend on each other."""
    (tmp_path / "Snakefile").write_text(CHAIN.format(root=ROOT, group=group))
    done = snakemake("--snakefile", tmp_path / "Snakefile", "--directory", tmp_path)
    # Snakemake makes two groups of what a third one separates; a profile may join them again.
    together = ["--group-components", "outer=2"]
    joined = snakemake("--snakefile", tmp_path / "Snakefile", "--directory", tmp_path, *together)
    assert done.returncode == 0, done.stderr
    assert (joined.returncode == 0) == fits
    assert fits or "groups: " in joined.stdout + joined.stderr
