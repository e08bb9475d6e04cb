"""The real example, shortened: three heads on voxels of 2.5 mm, a little training. Skipped without the scans."""

import json

import nibabel as nib
import numpy as np
import pytest
import yaml
from upfield.files import merged, read_tsv
from upfield.image import nifti

from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.real]


def test_lowfield_example_on_real_scans(real_data, study, tmp_path):
    data = tmp_path / "ds000011"
    data.mkdir()
    (data / "dataset_description.json").write_text(json.dumps({"Name": "part", "BIDSVersion": "1.10.0"}))
    for person in ("sub-01", "sub-02", "sub-03"):
        name = f"{person}/anat/{person}_T1w.nii.gz"
        head = nifti.load(real_data / "ds000011" / name)
        nifti.save(nifti.resample(head, nifti.regrid(head, (2.5, 2.5, 2.5))), data / name)
    example = yaml.safe_load((ROOT / "config/examples/ds000011-lowfield.yaml").read_text())
    short = {
        "target": {"bids_dir": str(data)},
        # Brains are found in the originals; a simulated scan has their voxels.
        "source": {"brain": {"method": "none"}},
        "simulate": {"thickness": 4.0},
        "preprocess": {"spacing": 3.0},
        "splits": {"fractions": {"train": 0.34, "val": 0.33, "test": 0.33}},
        "patches": {"size": 32, "per_volume": 12, "per_volume_val": 2},
        "methods": ["unet3d_patchgan"],
        "method_overrides": {"unet3d": {"base": 4}, "unet3d_patchgan": {"base": 4, "discriminator_base": 8}},
        "train": {"epochs": 4},
        "evaluate": {"regions": False, "segmentation": False, "as_applied": False},
    }
    made = study(merged(example, short))
    made.run(here=True)
    person = read_tsv(made.root / "splits.tsv").set_index("split").loc["test", "participant_id"]
    raw = nib.load(data / person / "anat" / f"{person}_T1w.nii.gz")
    board = read_tsv(made.root / "metrics/leaderboard.tsv").set_index(["region", "metric", "method"])["mean"]
    for method in ("identity", "spline", "histogram_match", "denoise", "unet3d", "unet3d_patchgan"):
        label = method.replace("_", "")
        (path,) = made.root.glob(f"{person}/anat/{person}_rec-simulated_space-target_desc-{label}_T1w.nii.gz")
        image = nib.load(path)
        assert image.shape == raw.shape
        np.testing.assert_allclose(image.affine, raw.affine, atol=1e-3)
        assert board["brain", "psnr", method] > 12
    # Even this little training beats leaving the image as it is.
    assert board["brain", "psnr", "unet3d"] > board["brain", "psnr", "identity"]
    assert "simulated from the target images" in (made.root / "report/index.html").read_text()
