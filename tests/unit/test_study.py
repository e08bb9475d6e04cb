from pathlib import Path

import pytest
import yaml
from upfield.files import merged
from upfield.study import Study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(bids_tree, tmp_path):
    """Make a study of two sessions of six people, with changes of the default config."""
    content = {f"sub-{n}/ses-{s}/anat/sub-{n}_ses-{s}_T1w.nii.gz": None for n in range(1, 7) for s in (1, 2)}
    root = bids_tree(content)

    def make(**changes):
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        sides = {
            side: {"bids_dir": str(root), "entities": {"session": str(number)}}
            for number, side in enumerate(("source", "target"), start=1)
        }
        return Study(merged(merged(config, sides | {"output_dir": str(tmp_path)}), changes))

    return make


def test_a_side_may_have_brains_of_its_own_kind(study):
    made = study(target={"brain": {"method": "none"}})
    methods = {scan.role: made.brain(scan)["method"] for scan in made.scans.values()}
    assert methods == {"source": "deepbet", "target": "none"}


def test_unknown_brain_method_of_a_side_is_named(study, refused):
    with refused("source.brain.method", "deepbet"):
        study(source={"brain": {"method": "magic"}})
