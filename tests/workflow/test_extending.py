"""How many files a new capability touches: each is added to a copy of the project, counted, and seen to be planned.

A metric, a brain tool, a report section and a method from outside have tests beside their own.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "workflow/scripts/upfield"


class Copy:
    """A copy of the project's code, and the files of it that were changed or added."""

    def __init__(self, root):
        self.root, self.touched = root, set()
        for name in ("Snakefile", "rules", "workflow", "config", "envs", "profiles"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            options = {"ignore": shutil.ignore_patterns("__pycache__", "*.egg-info")} if (ROOT / name).is_dir() else {}
            copy(ROOT / name, root / name, **options)

    def add(self, path, text):
        self.touched.add(path)
        assert not (self.root / path).exists()
        (self.root / path).write_text(text)

    def change(self, path, old, new):
        self.touched.add(path)
        text = (self.root / path).read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
        (self.root / path).write_text(text.replace(old, new))

    def plan(self, *arguments):
        """Rule and outputs of each job of a dry run that must succeed."""
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *map(str, arguments)]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=120)
        text = done.stdout + done.stderr
        assert done.returncode == 0, text[-3000:]
        return re.findall(r"^ *(?:local)?rule (\w+):\n(?:.*\n)*? *output: (.*)$", text, re.MULTILINE)

    def plan_refused(self, *arguments):
        """What a dry run that must not succeed says."""
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *map(str, arguments)]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=120)
        assert done.returncode != 0
        return done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


@pytest.fixture
def configfile(bids_tree, tmp_path):
    """A study of two runs of five participants, with changes."""
    root = bids_tree({f"sub-{n}/anat/sub-{n}_run-{r}_T1w.nii.gz": None for n in range(1, 6) for r in (1, 2)})

    def write(**changes):
        sides = {
            side: {"bids_dir": str(root), "entities": {"run": str(number), "suffix": "T1w"}}
            for number, side in enumerate(("source", "target"), start=1)
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"study": "new", "output_dir": str(tmp_path / "out"), **sides, **changes}))
        return "--configfile", path

    return write


STEP = '''"""The step that smooths what N4 leaves."""

from scipy import ndimage

from upfield.image import nifti
from upfield.preprocess.derivatives import save_image
from upfield.step import step


@step(version=0, memory=(300, 25), minutes=(0.2, 0.01))
def smooth(image: str, corrected: str, sigma: float) -> None:
    """Blur a scan by a Gaussian of `sigma` voxels."""
    volume = nifti.load(image)
    save_image(volume.with_data(ndimage.gaussian_filter(volume.data, sigma)), corrected, {"Sources": [image]})
'''
RULE = '''

STEP = step("preprocess.smooth.smooth", "preprocess/{folder}/{scan}_{suffix}_smooth")


rule smooth:
    """Smoothed after the bias field is gone."""
    input:
        image=PATHS("unsmoothed"),
    output:
        PATHS.both("corrected")[1],
        corrected=PATHS("corrected"),
    log:
        STEP.log,
    benchmark:
        STEP.benchmark
    group:
        "preprocess"
    conda:
        "../envs/preprocess.yaml"
    resources:
        **STEP.resources,
    params:
        **STEP.params,
        sigma=PREPROCESS["smooth"],
    script:
        "../workflow/scripts/step.py"
'''


def test_a_preprocessing_step_touches_five_files(copy, configfile):
    copy.add(f"{LIBRARY}/preprocess/smooth.py", STEP)
    copy.change(
        f"{LIBRARY}/bids/layout.py",
        '    "transform": Kind(',
        '    "unsmoothed": Kind(f"{SCAN}_desc-raw_{{suffix}}.nii.gz", "before smoothing", described=True),\n'
        '    "transform": Kind(',
    )
    rules = (copy.root / "rules/scans.smk").read_text()
    (bias,) = re.findall(r"rule bias:.*?script:\n.*?\n", rules, re.DOTALL)
    copy.change("rules/scans.smk", bias, bias.replace('PATHS("corrected")', 'PATHS("unsmoothed")')
                .replace('PATHS.both("corrected")', 'PATHS.both("unsmoothed")') + RULE)  # fmt: skip
    copy.change("config/config.yaml", "  n4: true ", "  smooth: 1.0                # voxels\n  n4: true ")
    schema = "workflow/schemas/config.schema.yaml"
    (n4,) = re.findall(r"^ +n4: \{.*$", (copy.root / schema).read_text(), re.MULTILINE)
    indent = n4[: len(n4) - len(n4.lstrip())]
    copy.change(schema, n4, f'{n4}\n{indent}smooth: {{type: number, minimum: 0, description: "Sigma in voxels."}}')
    jobs = copy.plan("preprocess", *configfile(preprocess={"smooth": 2.0}))
    made = [outputs for rule, outputs in jobs if rule == "smooth"]
    assert len(made) == 10 and all("desc-biascorr" in outputs for outputs in made)
    assert len(copy.touched) <= 5


DESIGN = '''"""Source and target are two runs of one session: the target stands in for a better scan."""

from upfield.study.designs.base import Design


class Repeated(Design):
    """A repetition is no better than the first scan: nothing can be gained, and the report says so."""

    name = "repeated"
    meaning = "source and target are repetitions of one scan"

    def notices(self, config):
        """That no gain is to be expected."""
        return ["Source and target are repetitions of one scan."]


DESIGN = Repeated()
'''


def test_a_kind_of_pairing_touches_three_files(copy, configfile):
    copy.add(f"{LIBRARY}/study/designs/repeated.py", DESIGN)
    jobs = copy.plan("train", *configfile(pairing="repeated", methods=[]))
    rules = [rule for rule, _ in jobs]
    assert rules.count("register") == 5 and rules.count("train_model") == 1
    assert len(copy.touched) <= 3 and "repeated" in copy.plan_refused(*configfile(pairing="repeatd"))
