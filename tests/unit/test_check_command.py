"""`upfield check`: what it says of a study that can run, of one that cannot, and of an application."""

import pytest
import yaml
from click.testing import CliRunner
from upfield.commands import launch
from upfield.commands.main import upfield_command

from tests import forked


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Write a config and check it: exit code, what is known by name, warnings and problems come back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    # Snakemake itself, without the seconds of its imports.
    monkeypatch.setattr(launch, "dry_run", lambda call: forked.run(call.words[3:], tmp_path, timeout=120))

    def check(config, *arguments):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
        done = CliRunner().invoke(upfield_command, ["check", "study.yaml", *arguments])
        lines = done.stdout.splitlines()
        warnings = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
        known = {line[:10].strip(): line[10:] for line in lines if not line.startswith("warning: ")}
        return done.exit_code, known, warnings, done.stderr.splitlines()

    return check


@pytest.fixture
def study(bids_tree):
    """Six people with two sessions, of whom one never came back; what differs from the defaults can be changed."""
    content = {f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_T1w.nii.gz": None
               for n in range(1, 7) for s in (1, 2) if (n, s) != (5, 2)}  # fmt: skip
    bids_tree(content, "data")
    sides = {side: {"bids_dir": "data", "entities": {"session": str(number)}}
             for number, side in enumerate(("source", "target"), start=1)}  # fmt: skip

    def make(**changes):
        return {"study": "s", **sides, "preprocess": {"brain": {"method": "none"}}} | changes

    return make


def test_a_study_in_ten_lines_and_nothing_is_started(said, study, tmp_path):
    code, known, warnings, problems = said(study())
    assert (code, problems) == (0, [])
    assert known["scans"] == "5 pairs of 5 participants; pairing: paired"
    assert known["left out"] == "1: sub-5 (source: no target scan of this participant matches the filters)"
    assert known["split"] == "train 3, val 1, test 1"
    count, tested = known["tested"].split(": ")
    assert count == "1" and tested in {f"sub-{n}" for n in (1, 2, 3, 4, 6)}
    assert known["methods"] == "upfield; baselines identity, spline, histogram_match, denoise, unet3d"
    assert known["device"].startswith("CPU")
    total, stages = known["jobs"].split(": ")
    counts = [int(stage.split()[-1]) for stage in stages.split(", ")]
    assert int(total) == sum(counts) and stages.startswith("ingest ") and "train 5" in stages
    assert "1 of upfield, about 1 h each" in known["time"] and "1 of unet3d, as long as" in known["time"]
    assert len(known) + len(warnings) <= 15
    assert [path.name for path in (tmp_path / "results/s").rglob("*") if path.is_file()] == ["index.json"]


def test_it_warns_of_few_tested_of_large_networks_and_of_no_gpu(said, study):
    warnings = said(study())[2]
    assert len(warnings) == 3
    assert "1 test participants" in warnings[0] and "kfold tests everybody" in warnings[0]
    assert warnings[1].startswith("unet3d: of published size") and "no GPU" in warnings[2]
    small = {"method_overrides": {"unet3d": {"base": 4}}, "splits": {"scheme": "kfold", "folds": 5}}
    _, known, warnings, _ = said(study(**small))
    assert known["split"] == "train 3, val 1, test 1, in each of 5 folds" and known["tested"].startswith("5: ")
    assert "5 of unet3d" in known["time"]
    assert len(warnings) == 1 and "no GPU" in warnings[0]


def test_little_disk_and_little_memory_are_said(said, study, monkeypatch):
    monkeypatch.setattr("upfield.commands.check._free", lambda study: 10)
    monkeypatch.setattr("upfield.commands.check._memory", lambda: 10**9)
    warnings = said(study())[2]
    assert any("are free, which may be too little" in line for line in warnings)
    assert any("1 GB of memory, less than a job may need" in line for line in warnings)


def test_every_problem_is_a_line(said, study, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, known, _, problems = said(study(trian={}), "--profile", "slurm")
    assert (code, known) == (1, {})
    assert len(problems) == 2 and all(line.startswith("upfield: ") for line in problems)
    assert "trian is not a known key" in problems[0] and "sbatch was not found" in problems[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"target": {"bids_dir": "data", "entities": {"session": "7"}}},
            "target.entities.session is 7, which no scan has; there is 1, 2",
        ),
        ({"splits": {"scheme": "kfold", "folds": 6}}, "splits.folds is 6"),
        ({"train": {"device": "cuda"}}, "no GPU is visible here"),
    ],
)
def test_what_cannot_run_is_one_line(said, study, change, words):
    code, _, _, problems = said(study(**change))
    assert code == 1 and len(problems) == 1 and words in problems[0] and problems[0].startswith("upfield: ")


def test_what_snakemake_refuses_is_one_line(said, study, monkeypatch):
    refused = forked.subprocess.CompletedProcess([], 1, "", "Building DAG\nMissingRuleException:\nNo rule to make x\n")
    monkeypatch.setattr(launch, "dry_run", lambda call: refused)
    code, _, _, problems = said(study())
    assert code == 1 and problems == ["upfield: snakemake cannot plan this: No rule to make x"]


def test_a_model_that_is_applied(said, bids_tree, trained):
    bids_tree({f"sub-0{n}/anat/sub-0{n}_T2w.nii.gz": None for n in (1, 2)}, "new")
    code, known, warnings, problems = said({"model": trained(), "bids_dir": "new"})
    assert (code, problems, warnings) == (0, [], [])
    assert known["scans"] == "2 of 2 participants, to be enhanced by unet3d"
    assert known["methods"] == "unet3d, 1 model" and "split" not in known
    assert known["jobs"].startswith("7: ")
