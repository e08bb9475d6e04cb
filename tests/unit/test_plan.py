"""Plans: what is read from the data, what a step costs, and what follows from both."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from upfield import methods
from upfield.catalogue.methods import facts
from upfield.files import read_json, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.patches import usable, write_store
from upfield.plan import cost, decide, depth, device, fingerprint, shape, stage
from upfield.plan.device import CORE, Device
from upfield.plan.fingerprint import Fingerprint
from upfield.report.render import number
from upfield.report.sections import plan as section
from upfield.report.tables import filled
from upfield.study import config

REPORT = Path(section.__file__).parents[1]

pytestmark = pytest.mark.usefixtures("one_thread")

WHOLE = Fingerprint(
    pairs=6, channels=1, spacing=(1.0, 1.0, 1.0), shape=(150, 180, 150), largest=(150, 180, 150), brain=(140, 170, 140),
    brain_voxels=1_500_000, noise=(0.05, 0.02), gap=0.1,
)  # fmt: skip
CARD = Device("cuda", 8 * 10**9, 4e12, assumed=True, dtype=torch.bfloat16)
DEFAULTS = facts("upfield").defaults


def settings(**over):
    return config.method_settings({"method_overrides": {"upfield": over}}, "upfield")


# Quicker to reckon with.
SHALLOW = settings(levels=2, blocks=1)


def costs(**over):
    return shape.Costs({**DEFAULTS, "module": "upfield.methods.upfield", **over}, 1, True, torch.float32)


@pytest.fixture
def store(tmp_path):
    """Write the store of a pair: a box of brain in noise of a known strength; the target has half of it."""

    def write(name="sub-1", noise=0.1, size=(30, 40, 20), channels=1):
        dice = np.random.default_rng(0)
        mask = np.zeros(size, dtype=bool)
        mask[5:25, 4:36, 2:18] = True
        source, target = (0.5 * mask + sd * dice.normal(size=size) for sd in (noise, noise / 2))
        path = tmp_path / f"{name}.safetensors"
        write_store(path, np.stack([source] * channels), target, mask, 2.0)
        return path

    return write


# -- the data -------------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_read_from_the_stores(store):
    found = fingerprint.of(usable([store("sub-1"), store("sub-2", size=(34, 40, 20))]), (1.0, 1.0, 2.5), (1.5, 1.5, 5))
    assert (found.pairs, found.channels, found.spacing, found.voxel) == (2, 1, (1.0, 1.0, 2.5), (1.5, 1.5, 5.0))
    assert (found.shape, found.largest, found.brain) == ((32, 40, 20), (34, 40, 20), (20, 32, 16))
    assert found.brain_voxels == 20 * 32 * 16
    # Over a robust width of 2.
    assert found.noise == pytest.approx((0.05, 0.025), rel=0.05)
    assert found.gap == pytest.approx(math.hypot(0.1, 0.05) / 2, rel=0.05)


def test_noise_is_that_of_a_smooth_image_with_noise():
    x = np.linspace(0, 3, 60)
    smooth = np.sin(x)[:, None, None] * np.cos(x)[None, :, None] * np.ones(20)
    inside = np.zeros(smooth.shape, dtype=bool)
    inside[2:-2, 2:-2] = True
    assert fingerprint.noise(smooth, inside) < 2e-3
    noisy = smooth + 0.2 * np.random.default_rng(1).normal(size=smooth.shape)
    assert fingerprint.noise(noisy, inside) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize(
    ("edges", "voxel", "wanted"),
    [
        ((150, 180, 150), (1, 1, 1), (4, (0, 0, 0))),
        ((40, 48, 40), (4, 4, 4), (3, (0, 0, 0))),
        ((16, 16, 16), (8, 8, 8), (2, (0, 0, 0))),
        ((4, 4, 4), (8, 8, 8), (1, (1, 1, 1))),
        # Voxels four times as thick are halved twice less; a slab of eight slices once at most.
        ((190, 190, 40), (1, 1, 4), (4, (0, 0, 2))),
        ((40, 190, 190), (4, 1, 1), (4, (2, 0, 0))),
        ((120, 150, 8), (1, 1, 1.2), (4, (0, 0, 3))),
        ((120, 150, 4), (1, 1, 5), (4, (0, 0, 4))),
    ],
)
def test_depth_follows_voxels_and_slices(edges, voxel, wanted):
    assert depth.depth(edges, voxel) == wanted


def test_a_flat_level_leaves_slices_alone():
    """What a slice becomes does not depend on its neighbours; without flat levels it does."""
    for flat, alone in (([0, 0, 2], True), ([0, 0, 0], False)):
        values = {
            **DEFAULTS,
            "base": 2,
            "levels": 2,
            "blocks": 1,
            "flat_levels": flat,
            "input_residual": False,
            "fitted_start": False,
        }
        torch.manual_seed(0)
        method = methods.build({"module": "upfield.methods.upfield", **values}).eval()
        # The deepest level looks along all axes.
        method.generator.encoder.layers[-1] = torch.nn.ModuleDict(
            {"blocks": torch.nn.Identity(), "downsample": torch.nn.Identity()}
        )
        image = torch.rand(1, 1, 16, 16, 8)
        other = image.clone()
        other[..., 5] += 1
        changed = (method(image) - method(other)).abs().amax(dim=(0, 1, 2, 3)) > 1e-6
        assert changed[5] and (changed.sum() == 1) == alone


# -- costs ----------------------------------------------------------------------------------------------------------


def test_operations_of_a_step_are_those_of_its_convolutions():
    """A conv 3^3 of one channel: 27 multiplications and additions a voxel, and as many backwards for its weights."""

    class One(methods.Method):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv3d(1, 1, 3, padding=1, bias=False)
            self.batch_size, self.gradient_clip = 2, 1.0

        def plans(self):
            return {"generator": methods.OptimizerConfig(list(self.parameters()), 1e-3)}

        def training_step(self, batch, update):
            update(generator=(self.conv(batch["source"]) - batch["target"]).abs().mean())
            return {}

    found = cost.training_step(One, (8, 8, 8), averaged=False)
    voxels = 2 * 8**3
    assert found.operations == 2 * voxels * 2 * 27
    kept = 6 * 27 * 4
    # Source, target, mask, output and difference at least, and all of them no more than twice.
    assert 5 * voxels * 4 < found.peak < 10 * voxels * 4 + kept


def test_memory_is_scaled_from_a_few_networks_and_two_batches():
    known = costs()
    small = shape.Shape(8, 3, (0, 0, 0), 2, False, (64, 64, 64), 2)
    sizes = ({"patch": (96, 64, 128)}, {"patch": (96,) * 3}, {"batch_size": 5})
    others = (*sizes, {"base": 16}, {"base": 32}, {"base": 10})
    for other in (replace(small, **values) for values in others):
        assert known.about(other)[0] == pytest.approx(known.exact(other).peak, rel=0.02)
        assert known.about(other)[1] == pytest.approx(known.exact(other).operations, rel=0.03)
    assert known.exact(replace(small, base=16)).peak > 1.5 * known.exact(small).peak


# -- plans ----------------------------------------------------------------------------------------------------------


def test_more_memory_is_made_use_of():
    sizes = []
    for memory in (1, 4, 24):
        plan = decide.plan(WHOLE, replace(CARD, memory=memory * 10**9), SHALLOW, DEFAULTS)
        chosen, foreseen = plan["settings"], plan["predicted"]["memory"] / (memory * 10**9)
        assert foreseen <= 1 and None not in chosen.values()
        assert set(plan["reasons"]) == set(facts("upfield").planned) - {"levels", "blocks"}
        assert all(edge % 2 ** chosen["levels"] == 0 for edge in chosen["patch"])
        assert memory == 24 or foreseen > 0.7
        sizes.append(chosen["base"] * math.prod(chosen["patch"]) * chosen["batch_size"])
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_what_the_study_says_stays():
    said = settings(levels=2, blocks=1, base=12, patch=[48, 64, 48], epochs=7, lr=0.01)
    plan = decide.plan(WHOLE, CARD, said, DEFAULTS)
    assert {name: plan["settings"][name] for name in ("base", "patch", "epochs", "lr")} == {
        "base": 12, "patch": [48, 64, 48], "epochs": 7, "lr": 0.01,
    }  # fmt: skip
    assert not {"base", "patch", "epochs", "lr"} & set(plan["reasons"])
    assert plan["settings"]["batch_size"] > 2, "what is left goes into the batch"
    assert plan == decide.plan(WHOLE, CARD, said, DEFAULTS)


def test_time_decides_on_steps_and_on_a_cpu_on_the_network():
    data = replace(WHOLE, pairs=2)
    few = decide.plan(data, CARD, SHALLOW, DEFAULTS)
    assert few["predicted"]["steps"] == pytest.approx(5000, rel=0.02) and "2 pairs" in few["reasons"]["per_volume"]
    short = decide.plan(data, CARD, SHALLOW, DEFAULTS, hours=0.1)
    assert 0.07 < short["predicted"]["hours"] <= 0.1 and "0.1 h" in short["reasons"]["per_volume"]
    cpu = Device("cpu", 4 * 10**9, CORE, assumed=False)
    slow = decide.plan(data, cpu, SHALLOW, DEFAULTS, hours=0.05)
    assert slow["settings"]["base"] < few["settings"]["base"] and slow["predicted"]["hours"] < 0.07
    assert slow["settings"]["fold"] and not few["settings"]["fold"]
    named = decide.plan(data, replace(cpu, assumed=True), SHALLOW, DEFAULTS, hours=0.05)
    assert named["predicted"]["memory"] > 2 * slow["predicted"]["memory"], "a memory that is named is made use of"


def test_processes_share_a_step_and_a_precision_is_reckoned_with():
    one, two = (decide.plan(WHOLE, replace(CARD, processes=n), SHALLOW, DEFAULTS)["settings"] for n in (1, 2))
    assert (one["accumulate"], two["accumulate"]) == (1, 2) and two["lr"] > one["lr"]
    assert two["epochs"] * two["per_volume"] == pytest.approx(2 * one["epochs"] * one["per_volume"], rel=0.02)
    single, half = costs(), costs()
    half.dtype = torch.float16
    small = shape.Shape(8, 2, (0, 0, 0), 1, False, (64, 64, 64), 2)
    assert half.exact(small).peak < 0.8 * single.exact(small).peak
    assert device.of("cuda", "8GB", 2, 10**9, "fp32").dtype == torch.float32
    assert device.of("cuda", "8GB", 2, 10**9).dtype == torch.bfloat16


def test_too_little_memory_says_how_much_is_needed(refused):
    with refused("plan: ", "GB are left", "needs", "train.memory"):
        decide.plan(WHOLE, replace(CARD, memory=700 * 10**6), settings(), DEFAULTS)


@pytest.mark.parametrize(("text", "wanted"), [("8GB", 8e9), ("1.5 GiB", 1.5 * 2**30), ("900MB", 9e8)])
def test_sizes_of_memory(text, wanted):
    assert device.size(text) == wanted


def test_a_memory_that_is_named_is_that_of_a_card(refused):
    assert device.of("auto", "24GB", 2, 10**9) == replace(CARD, memory=24 * 10**9, rate=18e12)
    assert device.of("cpu", "2GB", 2, 10**9) == Device("cpu", 2 * 10**9, 2 * CORE, assumed=True)
    assert device.of("cpu", "auto", 2, 10**9) == Device("cpu", 10**9, 2 * CORE, assumed=False)
    assert device.of("cuda", "auto", 2, 10**9).kind == "cuda"
    with refused("train.memory", "8GB"):
        device.size("eight")


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_plan_is_a_file_and_leaves_excluded_pairs_out(store, tmp_path):
    images = {side: [str(tmp_path / f"{side}-{n}.nii.gz") for n in (1, 2)] for side in ("source", "target")}
    for side, spacing in (("source", 1.0), ("target", 2.0)):
        for path in images[side]:
            nifti.save(Volume(np.arange(64, dtype=np.float32).reshape(4, 4, 4), np.diag([spacing] * 3 + [1.0])), path)
            write_json(path.replace(".nii.gz", ".json"), {"NativeVoxelSize": [1.5, 1.5, 5.0]})
    bad = images["target"][1].replace(".nii.gz", ".json")
    write_json(bad, {"Excluded": "no brain"})
    empty = tmp_path / "sub-2.safetensors"
    write_store(empty, np.ones((4, 4, 4)), np.ones((4, 4, 4)), np.zeros((4, 4, 4), dtype=bool), 1.0)
    plan = tmp_path / "plan.json"
    stage.write_plan(
        [str(store()), str(empty)], images["source"], images["target"], str(plan), settings(base=4, levels=1, blocks=1),
        {"device": "cpu", "memory": "auto", "hours": None, "precision": "auto", "processes": 1},
        4 * 10**9, 1, "upfield", "0",
    )  # fmt: skip
    found = read_json(plan)
    assert (found["method"], found["fold"], found["fingerprint"]["pairs"]) == ("upfield", "0", 1)
    assert (found["fingerprint"]["spacing"], found["fingerprint"]["voxel"]) == ([2.0, 2.0, 2.0], [1.5, 1.5, 5.0])
    line = depth.summary(found)
    assert "upfield, fold 0" in line and "4 channels" in line and "\n" not in line
    # On the page, with a working grid that was planned and without.
    environment = Environment(
        loader=FileSystemLoader([REPORT, REPORT / "sections"]), undefined=StrictUndefined, autoescape=True
    )
    environment.filters |= {"number": number, "uri": str, "label": str, "duration": str, "filled": filled}
    environment.globals |= {"kinds": {}, "model_free": ()}
    grid = {"spacing": 1.2, "because": "as fine as the median voxel"}
    for plans, shown in (([found], False), ([found | {"grid": grid}], True)):
        page = environment.get_template("plan.html").render(section.build(SimpleNamespace(plans=plans)))
        assert ("1.2 mm: as fine as the median voxel" in page) is shown
        assert "4 channels" in page or "<td>4</td>" in page


def test_what_is_known_before_scans_are_prepared():
    line = depth.foreseen("upfield", "2", 7, "brain", (240, 256, 30), (1.0, 1.0, 5.0))
    assert "fold 2" in line and "7 training pairs" in line and "150 x 190 x 30 voxels" in line
    assert "2 of them not through the slices" in line
    assert "voxels" not in depth.foreseen("upfield", "0", 7, "head", (), ())
