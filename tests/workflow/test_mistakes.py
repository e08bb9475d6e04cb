"""Typical mistakes of a neuroimager: each ends in one line that says what is wrong and what to do, within seconds."""

import os
import shlex
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from upfield.commands import launch, main
from upfield.files import write_json
from upfield.image import nifti
from upfield.image.nifti import Volume

from tests import forked

ROOT = Path(__file__).resolve().parents[2]
# Seconds of CPU that an answer may take.
SOON = 5
STUDY = {
    "study": "mine",
    "source": {"bids_dir": "data", "entities": {"session": "64mT", "suffix": "T1w"}},
    "target": {"bids_dir": "data", "entities": {"session": "3T", "suffix": "T1w"}},
}
EVERYBODY = [f"{number:02d}" for number in range(1, 7)]
COMMAND_LINES = [
    ("chek study.yaml", "No such command 'chek'. Did you mean 'check'?"),
    ("run study.yaml --core 4", "No such option '--core'. Did you mean '--cores'?"),
    ("run study.yaml --cores four", "--cores is 'four'; expected a number, or all"),
    ("check", "Missing argument 'CONFIG'. (upfield check --help)"),
    ("run stduy.yaml", "stduy.yaml is no file; did you mean study.yaml?"),
    ("run data", "data is a folder; expected a config, which `upfield init data` writes"),
    ("run study.yaml preproces", "preproces is no target; did you mean preprocess?"),
    ("run study.yaml results/mine/metrics/leaderbord.tsv", "did you mean results/mine/metrics/leaderboard.tsv?"),
    ("run study.yaml --profile slrum", "--profile slrum is no profile; did you mean slurm?"),
    ("report study.yaml --profile slurm", "No such option '--profile'."),
    ("init dta", "the dataset is dta, which is not there; did you mean data?"),
    ("init dicom", "it holds DICOM files: convert them to BIDS first"),
    ("init loose", "its images are not in BIDS: list them in a table (samples)"),
    ("init data/sub-01", "it is a part of the dataset"),
    ("init .", "where there is no dataset_description.json; did you mean data?"),
    ("init data -o study.yaml", "study.yaml is there already; give --overwrite"),
    ("enhance nowhere.nii.gz", "Path 'nowhere.nii.gz' does not exist."),
    ("enhance text.nii.gz", "text.nii.gz: the file cannot be read as NIfTI"),
    ("enhance series.nii.gz", "series.nii.gz: 4D image of shape (6, 7, 8, 3); expected one 3D volume"),
    ("enhance empty.nii.gz", "empty.nii.gz: the image is constant"),
    ("enhance scan.nii.gz --model data", "model is data, where there is no model.json; expected a folder such as"),
    ("enhance scan.nii.gz --model restor", "did you mean restore?"),
    ("enhance scan.nii.gz --device gpu", "device is 'gpu'; expected auto, cpu, cuda"),
    ("enhance scan.nii.gz -o text.nii.gz/out", "text.nii.gz: is a file where a folder was expected"),
    ("segment scan.nii.gz --model data", "data: no model.json is there"),
    ("data out participnt", "'participnt' is not one of 'participant', 'group'."),
    ("dta out participant", "Directory 'dta' does not exist."),
    ("data out participant --participant-label 99", "data has no scan of sub-99"),
]
CONFIGS = [
    ({"source": {"entities": {"session": "64mt"}}}, "session is 64mt, which no scan has; did you mean 64mT?"),
    ({"target": {"entities": {"session": "7T"}}}, "session is 7T, which no scan has; there is 3T, 64mT"),
    ({"target": {"entities": {"suffix": "T2w"}}}, "session is 3T, which no scan with suffix T2w has; there is 64mT"),
    ({"target": {"metadata": {"MagneticFieldStrength": 1.5}}}, "Strength is 1.5, which no scan has; there is 0.064, 3"),
    ({"target": {"metadata": {"MagneticFieldStrenght": 3}}}, "did you mean MagneticFieldStrength?"),
    ({"source": {"entities": {"sesion": "64mT"}}}, "'sesion' is not a BIDS entity of an image; did you mean session?"),
    ({"source": {"entities": {"session": "3T"}}}, "source and target filters match the same scan"),
    ({"source": {"bids_dir": "/data/mine"}}, "source.bids_dir is /data/mine, which is not there"),
    ({"source": {"bids_dir": "dicom"}}, "it holds DICOM files: convert them to BIDS first"),
    ({"evaluate": {"metrics": ["psrn"]}}, "evaluate.metrics.0 is 'psrn'; did you mean psnr?"),
    ({"methods": ["unet3"]}, "methods names 'unet3'; did you mean unet3d?"),
    ({"methods": "unet3d, upfield"}, "methods is 'unet3d, upfield'; expected a list such as [one, two]"),
    ({"method_overrides": {"unet3d": {"bse": 8}}}, "unet3d.bse is not a known setting; did you mean base?"),
    ({"trian": {"epochs": 3}}, "trian is not a known key; did you mean train?"),
    ({"train": {"epochs": "ten"}}, "train.epochs is 'ten'; expected a whole number"),
    ({"patches": {"size": 4}}, "patches.size is 4; expected at least 8"),
    ({"predict": {"overlap": 50}}, "predict.overlap is 50; expected less than 1"),
    ({"preprocess": {"n4": "yes"}}, "preprocess.n4 is 'yes'; expected true or false"),
    ({"preprocess": {"brain": {"method": "hd-bet"}}}, "synthstrip, template; did you mean hdbet?"),
    ({"splits": {"fractions": {"train": 0.9, "val": 0.1, "test": 0}}}, "fractions.test is 0; expected more than 0"),
    ({"participants": {"include": ["sub-1"]}}, "of whom no scan matches the filters; did you mean sub-01?"),
    ({"participants": {"include": ["01", "02"]}}, "2 usable participants cannot fill train, val and test"),
    ({"participants": {"exclude": EVERYBODY}}, "sub-01 and 11 more: participants.exclude names this participant"),
    ({"output_dir": "text.nii.gz"}, "text.nii.gz: is a file where a folder was expected"),
    ({"study": "my study"}, "study is 'my study'; expected a name of letters"),
    ("study: mine\n\tsource: data\n", "study.yaml, line 2: this is no YAML (found a tab character"),
    ("study: mine\nstudy: other\n", "study.yaml, line 2: 'study' is there twice, first in line 1"),
    ("source: data\n", "source is 'data'; expected keys with values"),
]  # fmt: skip
ACCEPTED = [
    {"methods": "unet3d"},
    {"evaluate": {"metrics": "psnr"}},
    {"train": {"seeds": 7}},
    {"participants": {"exclude": "sub-06"}},
    {"source": {"entities": {"session": "ses-64mT"}}},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What somebody may have: a dataset of two sessions, loose images, a DICOM series, files that are no scans."""
    root = tmp_path_factory.mktemp("mistakes")
    random = np.random.default_rng(0)

    def scan(path, shape=(6, 7, 8)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        nifti.save(Volume(random.uniform(1, 100, shape).astype(np.float32), np.eye(4)), root / path)

    for name in EVERYBODY:
        for session, field, suffixes in (("64mT", 0.064, ("T1w", "T2w")), ("3T", 3, ("T1w",))):
            for suffix in suffixes:
                stem = f"data/sub-{name}/ses-{session}/anat/sub-{name}_ses-{session}_{suffix}"
                scan(f"{stem}.nii.gz")
                write_json(root / f"{stem}.json", {"MagneticFieldStrength": field})
    write_json(root / "data/dataset_description.json", {"Name": "data", "BIDSVersion": "1.10.0"})
    scan("loose/somebody/t1.nii.gz")
    scan("scan.nii.gz")
    (root / "dicom/series").mkdir(parents=True)
    (root / "dicom/series/1").write_bytes(b"\0" * 128 + b"DICM")
    (root / "text.nii.gz").write_text("hello")
    image = nifti.nib.Nifti1Image(np.ones((6, 7, 8, 3), np.float32), np.eye(4))
    nifti.nib.save(image, root / "series.nii.gz")
    nifti.nib.save(nifti.nib.Nifti1Image(np.zeros((6, 7, 8), np.float32), np.eye(4)), root / "empty.nii.gz")
    return root


def laid_over(study, change):
    return study | {
        key: laid_over(study[key], value) if isinstance(value, dict) and key in study else value
        for key, value in change.items()
    }


@pytest.fixture
def write(folder, monkeypatch):
    """Write study.yaml there, with changes or as a text."""
    monkeypatch.chdir(folder)

    def write(change):
        text = change if isinstance(change, str) else yaml.safe_dump(laid_over(STUDY, change))
        Path("study.yaml").write_text(text)

    yield write
    shutil.rmtree(folder / "results", ignore_errors=True)


@pytest.fixture
def upfield(monkeypatch, capfd):
    """Run the command; its exit code and lines come back. Snakemake is not started."""
    monkeypatch.setattr(launch, "run", lambda call, follower=None: 0)

    def run(line):
        monkeypatch.setattr("sys.argv", ["upfield", *shlex.split(line)])
        before = time.process_time()
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert time.process_time() - before < SOON
        code = ended.value.code
        said = [code] if isinstance(code, str) else []
        text = capfd.readouterr()
        return code, text.out, [*text.err.splitlines(), *said]

    return run


@pytest.mark.parametrize(("line", "words"), COMMAND_LINES)
def test_mistake_in_a_command_line(write, upfield, line, words):
    write({})
    code, out, lines = upfield(line)
    assert code != 0 and out == ""
    (said,) = lines
    assert said.startswith("upfield: ") and words in said and len(said) < 320


@pytest.mark.parametrize(("change", "words"), CONFIGS)
def test_mistake_in_a_config(write, upfield, change, words):
    write(change)
    code, out, lines = upfield("check study.yaml")
    assert code == 1 and out == ""
    (said,) = lines
    assert said.startswith("upfield: ") and words in said and len(said) < 320
    assert not Path("results/mine/report").exists()


@pytest.mark.parametrize("change", ACCEPTED, ids=str)
def test_what_can_be_meant_is_taken(write, upfield, change):
    write(change)
    assert upfield("run study.yaml") == (0, "", [])


def snakemake(*arguments, environment=None):
    words = [*map(str, arguments), "--configfile", "study.yaml", "--snakefile", str(ROOT / "Snakefile")]
    done = forked.run(words, Path.cwd(), environment, timeout=60)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_snakemake_says_the_same(write):
    write({"target": {"entities": {"session": "7T"}}})
    code, lines = snakemake("-n", "--cores", "1")
    assert code == 1
    assert "config: target.entities.session is 7T, which no scan has; there is 3T, 64mT" in lines


def test_snakemake_takes_one_name_for_a_list(write):
    write({"methods": "unet3d", "evaluate": {"metrics": "psnr"}})
    code, lines = snakemake("split", "-n", "--quiet", "--cores", "1")
    assert code == 0, lines


def test_the_slurm_profile_without_slurm_ends(write, tmp_path):
    write({})
    # The plugin asks `which`, and a shell.
    for program in ("which", "sh", "bash"):
        (tmp_path / program).symlink_to(shutil.which(program))
    environment = os.environ | {"PATH": str(tmp_path)}
    code, lines = snakemake("split", "--profile", ROOT / "profiles" / "slurm", environment=environment)
    assert code == 1
    (said,) = [line for line in lines if "no Slurm here" in line]
    assert said == "scontrol was not found: there is no Slurm here. Start on a login node, or without the profile"
