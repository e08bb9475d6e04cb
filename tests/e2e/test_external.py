"""Methods of others through the whole workflow: a method's own predictions given back, and a program of the user's."""

import shutil
import sys

import numpy as np
import pytest
from scipy import ndimage
from upfield.files import digest, read_json, read_tsv
from upfield.image import nifti

from tests.e2e.conftest import run_snakemake, small_study

pytestmark = pytest.mark.slow

# Halves the intensities and blurs a little, and lays the image on voxels of 1.5 times the size.
PROGRAM = """
import sys

import nibabel as nib
import numpy as np
from scipy import ndimage

image = nib.load(sys.argv[1])
data = 0.5 * ndimage.gaussian_filter(image.get_fdata(), 0.5)
affine = image.affine @ np.diag([1.5, 1.5, 1, 1])
shape = [int(size / 1.5) for size in data.shape[:2]] + [data.shape[2]]
nib.save(nib.Nifti1Image(ndimage.affine_transform(data, [1.5, 1.5, 1], output_shape=shape), affine), sys.argv[2])
"""


@pytest.fixture(scope="module")
def finished(study, balls, tmp_path_factory):
    """A study whose predictions by the U-Net are given to it again as another's, beside a program."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "blur.py").write_text(PROGRAM)
    small = {"methods": [], "method_overrides": {"unet3d": {"base": 4, "levels": 1}}, "train": {"epochs": 1}}
    made = study(small_study(balls(3), "", 2.5, 2) | small | {"study": "others"})
    done = run_snakemake("predict", "--configfile", str(made.file), here=True)
    assert done.returncode == 0, done.stdout[-6000:]
    for path in made.root.glob("sub-*/*/anat/*_space-target_desc-unet3d_T1w.nii.gz"):
        shutil.copy(path, folder)
    command = [sys.executable, str(folder / "blur.py"), "{source}", "{output}"]
    made.config["external"] = {
        "copied": {"predictions": str(folder), "scale": "as_given", "title": "U-Net of others"},
        "blurred": {"command": command, "scale": "fitted", "version": "1", "reference": "the user's own"},
    }
    made.write()
    made.run(here=True)
    made.program = folder / "blur.py"
    return made


def test_a_methods_own_predictions_have_its_row_to_the_digit(finished):
    for name in ("leaderboard", "per_subject", "audit"):
        path = finished.root / f"metrics/{name}.tsv"
        if path.is_file():
            lines = path.read_text().splitlines()
            copied, own = (
                sorted(line.replace(method, "") for line in lines if f"\t{method}\t" in f"\t{line}")
                for method in ("copied", "unet3d")
            )
            assert len(own) >= 8 and [line.replace("n/a", "42") for line in copied] == [
                line.replace("n/a", "42") for line in own
            ], name


def test_a_program_runs_through_to_the_report(finished):
    board = read_tsv(finished.root / "metrics/leaderboard.tsv").set_index(["region", "metric", "method"])["mean"]
    # What it halves is fitted to the target again.
    assert board["brain", "psnr", "blurred"] > board["brain", "psnr", "identity"] - 3
    (path,) = finished.root.glob("sub-*/*/anat/*_space-target_desc-blurred_T1w.nii.gz")
    said = read_json(str(path).replace(".nii.gz", ".json"))
    assert said["Placed"] == "moved by the registration with one cubic interpolation" and said["Version"] == "1"
    made_by = finished.program
    (left,) = finished.root.glob(f"sourcedata/external/blurred/{path.parts[-4]}/*/anat/*.nii.gz")
    assert read_json(str(left).replace(".nii.gz", ".json"))["Digests"]["blur.py"] == digest(made_by)
    applied = read_tsv(finished.root / "metrics/as_applied.tsv")
    assert np.isfinite(applied.loc[applied["method"] == "blurred", "value"]).all()
    assert "blurred" in set(applied["method"]) and "copied" not in set(applied["method"])
    page = (finished.root / "report/index.html").read_text()
    assert "U-Net of others" in page and "the user&#39;s own" in page


def test_outputs_lie_where_the_scan_is(finished):
    (path,) = finished.root.glob("sub-*/*/anat/*_space-target_desc-blurred_T1w.nii.gz")
    found = nifti.load(path)
    own = nifti.load(str(path).replace("desc-blurred", "desc-identity"))
    assert found.grid.matches(own.grid)
    core = ndimage.binary_erosion(own.data > 200, iterations=4)
    assert np.corrcoef(found.data[core], own.data[core])[0, 1] > 0.95


def test_a_changed_program_runs_again_and_nothing_else_of_the_study(finished):
    assert not finished.planned()
    finished.program.write_text(PROGRAM.replace("0.5 * ", "0.4 * "))
    planned = finished.planned()
    assert planned["run_external"] == 3 and planned["fit_external"] == 1 and planned["place_external"] == 1
    assert not {"train_model", "enhance", "interpolate", "fit_denoise"} & set(planned)
