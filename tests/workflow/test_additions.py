"""What one file (and its table in the docs) adds: a metric and a brain tool, in a copy of the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
METRIC = '''

def median_error(sample: Sample) -> float:
    """Median of |output - target|."""
    return float(np.median(np.abs(sample.error)))


METRICS += (
    Metric(
        name="median_error",
        label="Median error",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="median |output − target|",
        source="by definition",
        function=median_error,
    ),
)
'''
TOOL = '''"""`middle`: a ball in the middle of the image."""

import numpy as np

from upfield.preprocess.brain.tool import Tool


def extract(volume, settings, given):
    axes = np.meshgrid(*((np.arange(n) - n / 2) * s for n, s in zip(volume.grid.shape, volume.grid.spacing)),
                       indexing="ij")
    return sum(axis**2 for axis in axes) < 60**2


TOOL = Tool(name="middle", summary="a ball", needs="`middle-of`", says="by a ball", extract=extract,
            program="middle-of", origin="nowhere")
'''


@pytest.fixture
def copy(tmp_path):
    """The library, its configuration and pages, elsewhere."""
    for folder in ("config", "docs", "workflow"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def python(copy, code):
    environment = {**os.environ, "PYTHONPATH": str(copy / "workflow" / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


START = """
import yaml
import numpy as np
from upfield.errors import UpfieldError
from upfield.files import merged
from upfield.study import config, docs, requirements
study = config.typed(yaml.safe_load(open("config/config.yaml")))
"""


def test_a_metric_is_one_file(copy):
    path = copy / "workflow" / "scripts" / "upfield" / "evaluate" / "metrics" / "fidelity.py"
    path.write_text(path.read_text() + METRIC)
    out = python(
        copy,
        START
        + """
from upfield.evaluate import metrics
config.check_schema(merged(study, {"evaluate": {"metrics": ["psnr", "median_error"]}}))
brain = np.ones((12, 12, 12), bool)
target = np.random.default_rng(0).random(brain.shape)
print(metrics.compute(target + 0.25, target, brain, 1.0, ["median_error"]), "median_error" in metrics.LOWER)
print([path.name for path in docs.outdated()], "`median_error`" in docs.table("metrics"))
""",
    )
    assert out.splitlines() == ["{'median_error': 0.25} True", "['metrics.md'] True"]


def test_a_brain_tool_is_one_file(copy):
    (copy / "workflow" / "scripts" / "upfield" / "preprocess" / "brain" / "middle.py").write_text(TOOL)
    out = python(
        copy,
        START
        + """
import os
from upfield.image.nifti import Volume
from upfield.preprocess.brain.extraction import extract
chosen = merged(study, {"preprocess": {"brain": {"method": "middle"}}})
config.check_schema(chosen)
try:
    requirements.check(chosen)
except UpfieldError as error:
    print(error)
os.mkdir("bin")
open("bin/middle-of", "w").close()
os.chmod("bin/middle-of", 0o755)
os.environ["PATH"] = os.path.abspath("bin")
requirements.check(chosen)
mask = extract(Volume(np.ones((60, 60, 60), np.float32), np.diag([3.0, 3, 3, 1])), {"method": "middle"})
print(mask.shape, mask.dtype, [path.name for path in docs.outdated()], "`middle`" in docs.table("brain tools"))
""",
    )
    refusal, worked = out.splitlines()
    assert refusal.startswith("config: preprocess.brain.method is middle, but its program middle-of was not found")
    assert worked == "(60, 60, 60) bool ['guide.md'] True"
