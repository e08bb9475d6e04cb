"""What jobs ask a scheduler for."""

import pytest
from upfield import step
from upfield.study import resources

# A step for each rule whose jobs were measured.
STEPS = {
    "phantom_subject": "phantom.steps.subject", "simulate": "preprocess.simulation.simulate",
    "brain": "preprocess.masks.extract_brain", "bias": "preprocess.bias.correct_bias",
    "register": "preprocess.register.register", "standardise": "preprocess.standardize.standardize",
    "patch_store": "patches.store.extract", "quality": "quality.stage.assess",
    "quality_figures": "report.gallery.draw", "train_model": "study.steps.train_model",
    "interpolate": "predict.interpolate.interpolate", "measure": "evaluate.subject.measure",
    "enhance": "predict.enhance.enhance",
}  # fmt: skip


def test_memory_is_the_measured_peak_with_a_margin_and_room_for_snakemake():
    cost = step.declared(STEPS["bias"])
    asked = cost.mem_mb(5.9)
    assert asked >= step.SNAKEMAKE + 1.5 * (cost.memory[0] + cost.memory[1] * 5.9)
    assert asked % 100 == 0


# Peak memory (MB) and seconds of single jobs on one busy core: a phantom at 2 mm and an adult at 1 x 1.33 x 1.33 mm.
@pytest.mark.parametrize(
    ("rule", "megavoxels", "peak", "seconds"),
    [
        ("phantom_subject", 1.2, 733, 14), ("simulate", 5.9, 543, 5), ("brain", 1.2, 1308, 23),
        ("brain", 5.9, 1340, 19),
        ("bias", 1.2, 326, 23), ("bias", 5.9, 415, 17), ("register", 1.2, 342, 24), ("register", 5.9, 390, 23),
        ("standardise", 1.2, 315, 10), ("standardise", 5.9, 431, 10), ("patch_store", 5.9, 438, 4),
        ("interpolate", 1.2, 537, 16), ("interpolate", 5.9, 657, 11), ("measure", 1.2, 389, 4),
        ("enhance", 5.9, 3867, 190), ("quality", 5.9, 671, 11), ("quality_figures", 5.9, 717, 8),
    ],
)  # fmt: skip
def test_measured_jobs_would_have_fitted(rule, megavoxels, peak, seconds):
    cost = step.declared(STEPS[rule])
    assert cost.memory[0] + cost.memory[1] * megavoxels >= 0.97 * peak
    assert 60 * cost.runtime(megavoxels) > 5 * seconds


@pytest.mark.parametrize("name", sorted(STEPS.values()))
def test_every_further_attempt_and_every_larger_study_asks_for_more(name):
    cost = step.declared(name)
    for ask in (cost.mem_mb, cost.runtime):
        assert ask(6, 1) < ask(6, 2) < ask(6, 3)
        assert ask(6, 1) <= ask(4000, 1)
    assert cost.runtime(0.001) >= 5


def test_size_of_a_scan_is_that_of_its_larger_grid():
    assert resources.megavoxels((100, 100, 50), (2, 2, 4), "native") == 0.5
    # 200 mm cubed at 1 mm.
    assert resources.megavoxels((100, 100, 50), (2, 2, 4), 1.0) == 8
    assert resources.megavoxels((400, 400, 400), (0.5, 0.5, 0.5), 1.0) == 64


def test_geometry_that_is_not_known_yet_is_that_of_a_head():
    assert resources.megavoxels((), (), 2.0) == pytest.approx(96 * 120 * 105 / 1e6)
    assert resources.megavoxels((), (), "native") == pytest.approx(192 * 240 * 210 / 1e6)


def test_half_a_geometry_is_refused(refused):
    with refused("3 axes", "0 voxel sizes"):
        resources.megavoxels((1, 2, 3), (), 1.0)


@pytest.mark.parametrize(
    ("shape", "voxel", "spacing"),
    [
        ((64, 64, 64), (8000, 8000, 8000), 1.0), ((30000, 30000, 2), (1, 1, 1), "native"),
        ((32767, 32767, 32767), (1, 1, 1), "native"), ((256, 256, 256), (1, 1, 1), 0.2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", sorted(STEPS.values()))
def test_no_header_makes_a_job_ask_for_more_than_the_largest_scan_needs(shape, voxel, spacing, name):
    size = resources.megavoxels(shape, voxel, spacing)
    assert size == pytest.approx(512**3 / 1e6)
    assert step.declared(name).mem_mb(size) < 250_000 and step.declared(name).runtime(size) < 1500
