"""Training and prediction where only networks run: no Snakemake, no ANTs, nothing that looks for or checks files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABSENT = (
    "snakemake", "ants", "bids2table", "jsonschema", "cc3d", "deepbet", "nilearn", "sklearn", "seaborn", "pingouin",
    "neuroCombat", "templateflow", "intensity_normalization", "nipype", "torchvision", "tqdm", "psutil",
)  # fmt: skip
# Not found, as if not installed: libraries ask for some of them before they import them.
BLOCK = f"""
import sys
from importlib.machinery import PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name.split(".")[0] in {ABSENT!r} else super().find_spec(name, *rest)
sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path
                 if "editable" not in repr(finder)]
"""


def run_bare(code, *arguments, timeout=120):
    """Run Python code where the packages of ABSENT cannot be imported."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "scripts"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BLOCK + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)


@pytest.mark.parametrize(
    "modules",
    [
        "upfield.training.run, upfield.training.unpaired",
        "upfield.predict.inference, upfield.predict.models, upfield.methods.model, upfield.image.histograms",
        "upfield.evaluate.metrics, upfield.preprocess.simulation, upfield.preprocess.grid, upfield.image.intensity",
    ],
    ids=lambda modules: modules.split(",")[0],
)
def test_networks_need_little(modules):
    done = run_bare(f"import {modules}")
    assert done.returncode == 0, done.stderr


def test_the_block_blocks():
    assert run_bare("import ants").returncode != 0


def test_a_network_is_trained_and_predicts(tmp_path):
    """The whole way: settings from the method's file, stores, training to a model folder, prediction of a volume."""
    done = run_bare(
        """
from pathlib import Path
import numpy as np, torch
from upfield.catalogue import methods
from upfield.methods import model
from upfield.predict import inference
from upfield.study import config
from upfield.patches import write_store
from upfield.training.run import train_model
folder = Path(sys.argv[1])
random = np.random.default_rng(0)
for name in ("train", "val"):
    target = random.uniform(0.2, 1, (16, 16, 16)).astype(np.float32)
    write_store(folder / f"{name}.safetensors", target * 0.5, target, np.ones_like(target, bool), 1.0)
settings = config.resolved(methods.built_in("unet3d"), {"base": 2, "levels": 1, "batch_size": 1})
train = {"epochs": 1, "seed": 7, "device": "cpu", "precision": "fp32", "max_steps": None, "patience": None,
         "accumulate": 1, "ema": 0.0, "layer_lr": {}, "save_every": 1, "preview_every": 0, "log_every": None,
         "workers": None, "processes": 1}
train_model(
    folder / "model", method="unet3d", version=1, settings=settings, train=train,
    patches={"per_volume": 2, "per_volume_val": 1, "foreground": 0.9, "brain_share": 0.0, "size": 8},
    stores={part: [str(folder / f"{part}.safetensors")] for part in ("train", "val")},
    card={"split_sha": "abc"},
)
network, card = model.load(folder / "model")
options = {"device": torch.device("cpu"), "dtype": torch.float32, "overlap": 0.5, "tta": False}
print(card["steps"], inference.enhance([network], target, **options).shape)
""",
        tmp_path,
    )
    assert done.stdout.strip() == "2 (16, 16, 16)", done.stderr
