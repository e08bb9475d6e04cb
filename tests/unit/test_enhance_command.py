"""`upfield enhance`: one scan, a folder of them, what goes wrong, and where outputs go."""

import numpy as np
import pytest
from click.testing import CliRunner
from upfield.bids import sidecar
from upfield.commands.enhance import enhance
from upfield.commands.main import main
from upfield.errors import UpfieldError
from upfield.files import read_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.predict import apply, inference

from tests.unit.test_application import PREPROCESS as ALONE

# A model of whole heads; the scans here are skull-stripped, and the command says so.
PREPROCESS = ALONE | {"spacing": 3.0, "brain": {"method": "deepbet"}}


@pytest.fixture
def brain(head):
    """A skull-stripped scan with thick slices."""
    mask = nifti.mask_on(head.brain, head.low.grid, np.linalg.inv(head.displacement))
    return head.low.with_data(np.where(mask, head.low.data, 0).astype(np.float32))


@pytest.fixture
def model(trained):
    """`restore`, which gives what it is shown at the start."""
    return trained(method="restore", over={"base": 2, "blocks": 1}, keeps_contrast=True, preprocess=PREPROCESS)


def run(*arguments):
    """The command as a shell runs it: what it says, and the error that ends it."""
    result = CliRunner().invoke(enhance, [*map(str, arguments), "--skull-stripped", "--device", "cpu"])
    if result.exception is not None and not isinstance(result.exception, UpfieldError | SystemExit):
        raise result.exception
    return result


def test_one_scan_becomes_an_image_a_sidecar_and_a_page_beside_it(brain, model, tmp_path, one_thread):
    scan = tmp_path / "sub-01_ses-2_T2w.nii.gz"
    nifti.save(brain, scan)
    done = run(scan, "--model", model)
    assert done.exception is None, done.output
    output = tmp_path / "sub-01_ses-2_desc-restore_T2w.nii.gz"
    assert {path.name for path in tmp_path.iterdir()} - {"model"} == {
        scan.name, output.name, "sub-01_ses-2_desc-restore_T2w.json", "sub-01_ses-2_desc-restore_T2w.html",
    }  # fmt: skip
    made = nifti.load(output)
    inside = nifti.resample(made, brain.grid, order=1).data
    both = (brain.data > 0) & (inside > 0)
    assert both.sum() > 0.8 * (brain.data > 0).sum()
    assert np.corrcoef(brain.data[both], inside[both])[0, 1] > 0.9, "the contrast and its scale"
    assert inside[both].mean() == pytest.approx(brain.data[both].mean(), rel=0.05)
    facts = read_json(sidecar(output))
    assert facts["Sources"] == [scan.name] and facts["Method"] == "restore"
    # A brain of this size is not what the model has seen.
    assert [warning.split()[0] for warning in facts["Warnings"]] and "careful: " in done.output
    page = (tmp_path / "sub-01_ses-2_desc-restore_T2w.html").read_text()
    assert "data:image/png;base64" in page and "any contrast to the same contrast" in page and str(tmp_path) not in page


def test_what_is_shown_ends_sharply(brain, model, tmp_path, monkeypatch, one_thread):
    """As in the draws it has learned from: ripples of the interpolation would be taken for what the image is like."""
    seen = []
    plain = inference.enhance

    def watched(networks, shown, **options):
        seen.append(shown[0])
        return plain(networks, shown, **options)

    monkeypatch.setattr(inference, "enhance", watched)
    scan = tmp_path / "sub-01_T1w.nii.gz"
    nifti.save(brain, scan)
    for cut in (apply._as_drawn, lambda source, kept: source):
        monkeypatch.setattr(apply, "_as_drawn", cut)
        assert run(scan, "--model", model, "--overwrite").exception is None
    flat, before = ((one == one[0, 0, 0]).mean() for one in seen)
    assert flat > 0.5 > before


def test_a_folder_goes_to_a_folder_and_one_bad_scan_stops_no_other(brain, model, tmp_path, one_thread):
    folder = tmp_path / "bids" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    nifti.save(brain, folder / "sub-01_T1w.nii")
    nifti.save(brain, folder / "sub-01_desc-brain_mask.nii.gz")
    (folder / "sub-01_FLAIR.nii.gz").write_bytes(b"no image at all")
    done = run(tmp_path / "bids", "--model", model, "-o", tmp_path / "out")
    assert str(done.exception) == "1 of 2 scans were not enhanced"
    assert "sub-01_FLAIR.nii.gz (1 of 2): " in done.output
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.nii*"))
    assert made == ["sub-01/anat/sub-01_desc-restore_T1w.nii"]
    assert nifti.load(tmp_path / "out" / made[0]).data.any()


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.zeros((20, 20, 20), np.float32), "constant"), (np.arange(27.0).reshape(3, 3, 3), "brain extraction")],
)
def test_a_scan_that_cannot_be_used_is_one_line_and_leaves_nothing(image, message, model, tmp_path, one_thread):
    scan = tmp_path / "scan.nii.gz"
    nifti.save(Volume(image.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0])), scan)
    done = run(scan, "--model", model)
    line = str(done.exception)
    assert line.startswith("scan.nii.gz: ") and message in line and done.output == ""
    assert {path.name for path in tmp_path.iterdir()} == {"scan.nii.gz", "model"}


def test_nothing_is_replaced_unless_asked(brain, model, tmp_path, one_thread):
    scan, output = tmp_path / "head.nii.gz", tmp_path / "other.nii.gz"
    nifti.save(brain, scan)
    output.write_bytes(b"mine")
    done = run(scan, "--model", model, "-o", output)
    assert "other.nii.gz is there already; give --overwrite" in str(done.exception) and output.read_bytes() == b"mine"
    assert run(scan, "--model", model, "-o", output, "--overwrite").exception is None
    assert nifti.load(output).data.any()


def test_outputs_that_would_collide_are_named(model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan_T1w.nii.gz").touch()
    done = run(tmp_path / "a/scan_T1w.nii.gz", tmp_path / "b/scan_T1w.nii.gz", "--model", model, "-o", tmp_path / "out")
    assert "would both be written to" in str(done.exception)
    done = run(tmp_path / "a", tmp_path / "b", "--model", model, "-o", tmp_path / "one.nii.gz")
    assert "one.nii.gz, for 2 scans; expected a folder" in str(done.exception)


def test_what_is_no_model_or_needs_more_than_a_scan_is_one_line(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "scan.nii.gz").touch()
    many = trained(name="many", channels=["T1w", "T2w"])
    for folder, words in ((tmp_path / "nowhere", "where there is no model.json"), (many, "takes several contrasts")):
        assert words in str(run(tmp_path / "scan.nii.gz", "--model", folder).exception)
    monkeypatch.setattr("sys.argv", ["upfield", "enhance", str(tmp_path / "scan.nii.gz"), "--model", many])
    with pytest.raises(SystemExit) as ended:
        main()
    assert str(ended.value).startswith("upfield: ") and "\n" not in str(ended.value)
