from dataclasses import replace

import pytest
from upfield.bids import Scan
from upfield.errors import UpfieldError
from upfield.predict import training_range as domain

SCAN = Scan("sub-01", "source", "/x", "sub-01/anat", "sub-01", "T1w", metadata={"MagneticFieldStrength": 3})
SIDECAR = {
    "RobustRange": [100.0, 500.0],
    "IntensityProfile": [0.2, 0.35, 0.55, 0.7, 0.8],
    "NativeVoxelSize": [1.0, 1.0, 3.0],
    "BrainVolume": 1400.0,
    "IntensityOffset": 100.0,
    "IntensityScale": 400.0,
}


def described(**changes):
    return SCAN, SIDECAR | changes


@pytest.fixture
def seen():
    """Two scans of one kind."""
    sources = [described(), described(BrainVolume=1200.0, RobustRange=[0.0, 200.0])]
    return domain.describe(sources, [described(), described(IntensityOffset=50.0, IntensityScale=600.0)])


def test_card_holds_the_ranges_of_the_sources_and_the_medians_of_the_targets(seen):
    assert seen["source"] == {
        "scans": 2,
        "suffix": ["T1w"],
        "field_strength": [3.0],
        "manufacturer": [],
        "voxel": {"low": [1.0, 1.0, 3.0], "high": [1.0, 1.0, 3.0]},
        "intensity": {"low": 200.0, "high": 400.0},
        "profile": {"low": SIDECAR["IntensityProfile"], "high": SIDECAR["IntensityProfile"]},
        "brain_volume": {"low": 1200.0, "high": 1400.0},
    }
    assert (seen["target"]["offset"], seen["target"]["scale"]) == (75.0, 500.0)


def test_excluded_scans_have_no_say(seen):
    broken = (SCAN, {"Excluded": "no brain"})
    sources = [described(), described(BrainVolume=1200.0, RobustRange=[0.0, 200.0]), broken]
    assert domain.describe(sources, [described(), broken])["source"] == seen["source"]


def test_nothing_left_to_learn_from_is_one_clear_line():
    broken = described(Excluded="brain extraction found 113 cm3")
    with pytest.raises(UpfieldError, match="of the source: 1 excluded, the first because brain extraction found 113"):
        domain.describe([broken], [described()])


def test_scan_like_those_of_the_training_is_in_range(seen):
    assert domain.check(*described(), seen) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"NativeVoxelSize": [1.0, 3.0, 1.0]}, ["voxels of 1 x 3 x 1 mm", "seen 1 x 1 x 3 mm"]),
        ({"BrainVolume": 700.0}, ["brain of 700 cm3", "1200 to 1400"]),
        ({"RobustRange": [0.0, 1.0]}, ["intensities span 1 ", "200 to 400"]),
        ({"IntensityProfile": [0.1, 0.2, 0.3, 0.5, 0.7]}, ["50 % of the brain", "0.30", "0.55"]),
    ],
)
def test_what_is_beyond_the_range_is_told_in_one_line(seen, changes, words):
    (line,) = domain.check(*described(**changes), seen)
    assert [word for word in words if word not in line] == []
    assert "\n" not in line


@pytest.mark.parametrize(
    "changes",
    [{"NativeVoxelSize": [1.2, 0.9, 3.5]}, {"BrainVolume": 1000.0}, {"RobustRange": [0.0, 1500.0]}],
)
def test_a_little_beyond_is_no_reason_to_warn(seen, changes):
    assert domain.check(*described(**changes), seen) == []


def test_contrast_and_field_strength_come_from_the_scan(seen):
    other = replace(SCAN, suffix="T2w", metadata={"MagneticFieldStrength": "0.064"})
    contrast, field = domain.check(other, SIDECAR, seen)
    assert "contrast T2w" in contrast and "T1w" in contrast
    assert "0.064 T" in field and "3 T" in field
    assert domain.check(replace(SCAN, metadata={"MagneticFieldStrength": 2.89}), SIDECAR, seen) == []
    assert domain.check(replace(SCAN, metadata={}), SIDECAR, seen) == [], "what nobody says cannot be judged"


def test_models_together_have_seen_what_one_of_them_has(seen):
    other = domain.describe([described(BrainVolume=900.0)], [described(IntensityOffset=25.0, IntensityScale=100.0)])
    both = domain.joined([seen, other])
    assert both["source"]["brain_volume"] == {"low": 900.0, "high": 1400.0}
    assert both["source"]["suffix"] == ["T1w"] and both["source"]["field_strength"] == [3.0]
    assert (both["target"]["offset"], both["target"]["scale"]) == (50.0, 300.0)
    assert domain.joined([seen]) == seen


def test_of_a_model_for_all_contrasts_voxels_and_brains_are_judged(seen):
    other = replace(SCAN, suffix="T2w", metadata={"MagneticFieldStrength": 0.064})
    strange = {"RobustRange": [0.0, 1.0], "IntensityProfile": [0.1, 0.2, 0.3, 0.5, 0.7]}
    assert domain.check(other, SIDECAR | strange, seen, any_contrast=True) == []
    lines = domain.check(other, SIDECAR | {"BrainVolume": 700.0, "NativeVoxelSize": [9, 9, 9]}, seen, any_contrast=True)
    assert [line.split()[0] for line in lines] == ["voxels", "brain"]
