"""Methods of others: which file is whose, where outputs are, on which scale, and every mistake in one line."""

import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from upfield.bids import Pair, Scan, sidecar
from upfield.errors import UpfieldError
from upfield.evaluate.case import Case
from upfield.evaluate.subject import COLUMNS
from upfield.files import digest, read_json, write_json, write_tsv
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.predict import external
from upfield.preprocess.derivatives import excluded
from upfield.report.context import StudyContext
from upfield.report.sections import external as section
from upfield.study import external as settings
from upfield.study.designs.narrative import Narrative
from upfield.study.external import External
from upfield.training.external import Pair as Fitted
from upfield.training.external import fit_external

SHAPE = (24, 24, 24)
# From the target's world to the source's: 3 mm along x.
MOVED = np.array([[1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.fixture
def pair(tmp_path):
    """Files of a pair whose source is the target, moved by 3 mm and half as bright; both on their own grids."""
    random = np.random.default_rng(1)
    target = 100 + 40 * ndimage.gaussian_filter(random.normal(size=SHAPE), 2) / 0.05
    mask = np.zeros(SHAPE)
    mask[4:-4, 4:-4, 4:-4] = 1
    # Voxels of 1 mm, and the same lattice 3 mm farther: its voxel (i, j, k) is that of the target.
    affines = {"source": np.eye(4) @ MOVED, "target": np.eye(4)}
    files = {}
    for side, data in (("source", 0.5 * target), ("target", target)):
        for name, values in ((side, data), (f"{side}_mask", mask)):
            files[name] = str(tmp_path / f"{name}.nii.gz")
            nifti.save(Volume(values.astype(np.float32), affines[side]), files[name])
        low, high = map(float, np.percentile(data[mask > 0], (0.5, 99.5)))
        files[f"{side}_preprocessed"] = str(tmp_path / f"{side}preproc.nii.gz")
        write_json(sidecar(files[f"{side}_preprocessed"]), {"IntensityOffset": low, "IntensityScale": high - low})
    files["transform"] = str(tmp_path / "xfm.txt")
    nifti.write_transform(files["transform"], MOVED)
    return files


def volume(pair, side):
    return nifti.load(pair[side])


def given(tmp_path, image, name="sub-01_T1w.nii.gz"):
    path = str(tmp_path / name)
    nifti.save(image, path)
    return path


def place(pair, tmp_path, path, scale="as_given", **others):
    names = ("source", "source_mask", "target", "target_mask", "transform", "target_preprocessed")
    prediction = str(tmp_path / "out_T1w.nii.gz")
    external.place_external(
        external=path, acquired=pair["target"], prediction=prediction, method="theirs", normalization="percentile",
        said=External("theirs", scale=scale).said(), **{name: pair[name] for name in names}, **others,
    )  # fmt: skip
    return prediction


def other(image):
    """Another image on the same grid: smoother."""
    return image.with_data(ndimage.gaussian_filter(image.data, 1))


# -- geometry ------------------------------------------------------------------------------------------------------


def test_a_prediction_on_the_targets_grid_is_taken_as_it_is(pair, tmp_path):
    image = other(volume(pair, "target"))
    path = given(tmp_path, image)
    made = place(pair, tmp_path, path)
    np.testing.assert_array_equal(nifti.load(made).data, image.data)
    said = read_json(sidecar(made))
    assert (said["Placed"], said["Digest"]) == ("on the target's grid, as it is", digest(Path(path)))
    assert str(tmp_path) not in str(
        {key: value for key, value in said.items() if key not in ("Sources", "SpatialReference")}
    )


def test_a_prediction_elsewhere_is_moved_once_by_the_registration(pair, tmp_path):
    image = other(volume(pair, "source"))
    made = nifti.load(place(pair, tmp_path, given(tmp_path, image)))
    assert made.grid.matches(volume(pair, "target").grid)
    # The same lattice in the world of the target.
    np.testing.assert_allclose(made.data, image.data, rtol=1e-4, atol=1e-2)
    fine = nifti.resample(image, nifti.regrid(image, 0.8), order=3)
    made = nifti.load(place(pair, tmp_path, given(tmp_path, fine)))
    inside = nifti.load_mask(pair["target_mask"]).data
    assert np.abs(made.data - image.data)[inside].max() < 2


def test_turned_axes_are_the_same_grid(pair, tmp_path):
    image = other(volume(pair, "target"))
    turned = image.affine @ np.array([[0, -1.0, 0, 23], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    path = given(tmp_path, Volume(np.rot90(image.data, -1).copy(), turned))
    moved = nifti.resample(nifti.load(path), image.grid, order=0)
    made = place(pair, tmp_path, path)
    np.testing.assert_array_equal(nifti.load(made).data, moved.data)
    assert "turned" in read_json(sidecar(made))["Placed"]


def test_a_grid_that_says_nothing_is_asked_for(pair, tmp_path):
    # Source and target on one grid, and a registration between them.
    for name in ("source", "source_mask"):
        nifti.save(nifti.load(pair[name]).with_data(nifti.load(pair[name]).data), pair[name])
        image = nifti.load(pair[name])
        nifti.save(Volume(image.data, np.eye(4)), pair[name])
    image = other(volume(pair, "target"))
    path = given(tmp_path, image)
    with pytest.raises(UpfieldError, match=r"external.theirs.space is not set, .*; expected source .* or target"):
        place(pair, tmp_path, path)
    np.testing.assert_array_equal(nifti.load(place(pair, tmp_path, path, space="target")).data, image.data)
    moved = nifti.load(place(pair, tmp_path, path, space="source")).data
    np.testing.assert_allclose(moved[:20], image.data[3:23], rtol=1e-4, atol=1e-2)


# -- intensities ---------------------------------------------------------------------------------------------------


def test_matched_intensities_have_the_targets_range(pair, tmp_path):
    image = other(volume(pair, "source"))
    path = given(tmp_path, image.with_data(7 * image.data + 1000))
    inside = nifti.load_mask(pair["target_mask"]).data
    found = np.percentile(nifti.load(place(pair, tmp_path, path, "matched")).data[inside], (0.5, 99.5))
    wanted = np.percentile(volume(pair, "target").data[inside], (0.5, 99.5))
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def test_a_curve_of_training_participants_turns_intensities(pair, tmp_path):
    image = other(volume(pair, "target"))
    path = given(tmp_path, image.with_data(1000 - image.data))
    names = ("source_mask", "source_preprocessed", "target", "target_mask", "target_preprocessed", "transform")
    files = {name: pair[name] for name in names} | {"space": None, "normalization": "percentile", "key": "external.x"}
    broken = given(tmp_path, image, "broken.nii.gz")
    Path(broken).write_bytes(b"no image")
    train = [Fitted("sub-01", path, **files), Fitted("sub-02", broken, **files)]
    fit_external(tmp_path / "model", "theirs", train=train, val=[], card={"fold": "0"})
    card = read_json(tmp_path / "model/model.json")
    assert card["participants"]["train"] == ["sub-01"] and card["tuned_on"] == "train"
    made = place(pair, tmp_path, path, "fitted", models=[str(tmp_path / "model/model.safetensors")])
    inside = nifti.load_mask(pair["target_mask"]).data
    target = volume(pair, "target").data[inside]
    assert np.corrcoef(nifti.load(made).data[inside], target)[0, 1] > 0.7
    with pytest.raises(UpfieldError, match="theirs: no usable pair among the training participants"):
        fit_external(tmp_path / "none", "theirs", train=train[1:], val=[], card={})


def test_as_applied_it_has_the_training_targets_scale(pair, tmp_path):
    image = other(volume(pair, "source"))
    write_json(tmp_path / "typical.json", {"offset": 200.0, "scale": 50.0})
    made = str(tmp_path / "alone_T1w.nii.gz")
    external.scale_external(
        given(tmp_path, image), pair["source_mask"], str(tmp_path / "typical.json"), made, "theirs", "percentile",
        External("theirs").said(),
    )  # fmt: skip
    inside = nifti.load_mask(pair["source_mask"]).data
    found = nifti.load(made)
    assert found.grid.matches(image.grid)
    np.testing.assert_allclose(np.percentile(found.data[inside], (0.5, 99.5)), (200, 250), rtol=1e-4)


# -- what cannot be used -------------------------------------------------------------------------------------------


def test_a_copy_of_the_target_stops(pair, tmp_path):
    target = volume(pair, "target")
    path = given(tmp_path, target.with_data(3 * target.data + 5))
    with pytest.raises(UpfieldError, match=r"external\.theirs: a prediction is its target"):
        place(pair, tmp_path, path, "matched")


def test_an_output_that_is_no_image_of_the_brain_has_no_row_and_says_why(pair, tmp_path):
    image = other(volume(pair, "target"))
    data = image.data.copy()
    data[0, 0, 0] = np.nan
    bad = {
        "not finite": nib.Nifti1Image(data, np.eye(4)),
        "% of the brain": nib.Nifti1Image(image.data, np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 90),
        "constant": nib.Nifti1Image(np.zeros(SHAPE, np.float32), np.eye(4)),
    }
    for number, (words, made) in enumerate(bad.items()):
        path = str(tmp_path / f"bad{number}.nii.gz")
        nib.save(made, path)
        found = place(pair, tmp_path, path)
        assert words in str(excluded(found)), words
        said = {
            "participant": "sub-01",
            "mask": pair["target_mask"],
            "outputs": {"theirs": found, "own": pair["target"]},
        }
        assert set(Case.of(said).outputs) == {"own"}
    Path(path).write_bytes(b"no image")
    assert "cannot be read" in str(excluded(place(pair, tmp_path, path)))


# -- commands ------------------------------------------------------------------------------------------------------


def run(pair, tmp_path, code, minutes=1.0):
    (tmp_path / "program.py").write_text(code)
    output = str(tmp_path / "left.nii.gz")
    command = [sys.executable, str(tmp_path / "program.py"), "{source}", "{output}", "{threads}"]
    external.run_external(pair["source"], pair["source_mask"], output, "theirs", command, minutes, {"Version": "2"})
    return output


def test_a_program_sees_the_source_and_its_output_is_kept(pair, tmp_path):
    code = "import sys, shutil; assert int(sys.argv[3]) > 0; shutil.copy(sys.argv[1], sys.argv[2])"
    output = run(pair, tmp_path, code)
    np.testing.assert_array_equal(nifti.load(output).data, volume(pair, "source").data)
    said = read_json(sidecar(output))
    assert said["Version"] == "2" and said["Digests"]["program.py"] == digest(tmp_path / "program.py")
    assert excluded(output) is None and str(tmp_path) not in str(said["Command"])


def test_the_page_says_what_a_command_may_take():
    page = (Path(__file__).parents[2] / "docs/methods.md").read_text()
    assert f"`{{threads}}` is {external.run_external.step.threads}," in page
    assert f"| `minutes` | {settings.MINUTES:g} |" in page and f"| `scale` | `{settings.DEFAULT_SCALE}` |" in page


@pytest.mark.parametrize(
    ("code", "minutes", "words"),
    [
        ("import sys; print('some'); sys.exit('no weights')", 1, r"python\S* failed \(no weights\)"),
        ("print('done')", 1, r"wrote no image to \{output\} \(done\)"),
        ("import sys; open(sys.argv[2], 'w').write('x')", 1, "its output cannot be used: the file cannot be read"),
        ("import time; time.sleep(30)", 0.02, r"took longer than 1.2 s"),
    ],
    ids=["fails", "nothing", "no image", "too long"],
)
def test_a_program_that_fails_is_one_line(pair, tmp_path, code, minutes, words):
    output = run(pair, tmp_path, code, minutes)
    reason = str(excluded(output))
    assert reason.startswith("external.theirs: ") and "\n" not in reason
    assert re.search(words, reason), reason
    # What is made of it has the reason too.
    assert excluded(place(pair, tmp_path, output)) == reason


# -- which file is whose -------------------------------------------------------------------------------------------


def pairs(*numbers):
    def scan(number, role):
        name = f"sub-{number:02d}_ses-{role}"
        return Scan(
            f"sub-{number:02d}", role, f"/d/{name}_T1w.nii.gz", f"sub-{number:02d}/ses-{role}/anat", name, "T1w"
        )

    return [Pair(f"sub-{number:02d}", scan(number, "source"), scan(number, "target")) for number in numbers]


def folder(tmp_path, *names):
    for name in names:
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return External("theirs", predictions=str(tmp_path / "theirs"))


def names(found):
    return {participant: Path(path).name for participant, path in found.items()}


def test_files_of_a_folder_are_found_by_their_bids_names(tmp_path, caplog):
    found = folder(
        tmp_path,
        "sub-01/ses-source/anat/sub-01_ses-source_space-x_desc-theirs_T1w.nii.gz",
        "sub-01/ses-other/anat/sub-01_ses-other_T1w.nii.gz",
        "sub-02_T1w.nii",
        "sub-02_T2w.nii",
        "sub-03_ses-target_T1w.nii.gz",
        "sub-03_desc-brain_mask.nii.gz",
        "sub-99_T1w.nii.gz",
        "average.nii.gz",
        "notes.txt",
    )
    files = settings.given(found, pairs(1, 2, 3, 4))
    assert names(files) == {
        "sub-01": "sub-01_ses-source_space-x_desc-theirs_T1w.nii.gz",
        "sub-02": "sub-02_T1w.nii",
        "sub-03": "sub-03_ses-target_T1w.nii.gz",
    }
    assert "files of sub-99, not in this study" in caplog.text and "average.nii.gz name no participant" in caplog.text
    with pytest.raises(UpfieldError, match="has no file of sub-04, sub-05, who are tested; add it, or leave them out"):
        settings.require_given(found, files, ["sub-01", "sub-04", "sub-05"], [])
    settings.require_given(found, files, ["sub-01"], [])
    fitted = External("theirs", predictions="x", scale="fitted")
    with pytest.raises(UpfieldError, match="scale is fitted, but predictions has no file of a training participant"):
        settings.require_given(fitted, files, ["sub-01"], ["sub-04"])


def test_several_files_that_would_do_are_named(tmp_path):
    found = folder(tmp_path, "sub-01_desc-a_T1w.nii.gz", "sub-01_desc-b_T1w.nii.gz")
    with pytest.raises(UpfieldError, match=r"several files of sub-01 \(sub-01_desc-a_T1w.nii.gz, sub-01_desc-b"):
        settings.given(found, pairs(1))


def test_a_table_says_whose_files_are(tmp_path):
    folder(tmp_path, "one.nii.gz", "two.nii.gz", "three.nii.gz")
    table = tmp_path / "theirs.tsv"
    rows = ["01\tsource\ttheirs/one.nii.gz", "01\tlater\ttheirs/two.nii.gz", "sub-02\tn/a\ttheirs/three.nii.gz"]
    table.write_text("\n".join(["participant_id\tsession\tfile", *rows, ""]))
    found = External("theirs", predictions=str(table))
    assert names(settings.given(found, pairs(1, 2))) == {"sub-01": "one.nii.gz", "sub-02": "three.nii.gz"}
    table.write_text("participant_id\tfile\n01\tnowhere.nii.gz\n")
    with pytest.raises(UpfieldError, match=r"theirs.tsv, line 2: 'nowhere.nii.gz' is not there; expected an image"):
        settings.given(found, pairs(1))
    table.write_text("participant_id\tpath\n01\tnowhere.nii.gz\n")
    with pytest.raises(UpfieldError, match="file"):
        settings.given(found, pairs(1))


def test_whom_a_program_was_trained_on_is_not_tested():
    tested = [pair.source for pair in pairs(1, 2, 3)]
    settings.check_tested(External("theirs", trained_on=("sub-09", "7")), tested)
    with pytest.raises(UpfieldError, match=r"external\.theirs\.trained_on has sub-01, sub-03, who are tested here"):
        settings.check_tested(External("theirs", trained_on=("01", "sub-03")), tested)


# -- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"unet3d": {"predictions": "."}}, "external.unet3d has the name of a method of Upfield"),
        ({"identity": {"predictions": "."}}, "external.identity has the name of a method of Upfield"),
        ({"theirs": {}}, "external.theirs has neither predictions nor command; expected one of them"),
        ({"theirs": {"predictions": ".", "command": ["x"]}}, "external.theirs has predictions and command"),
        ({"theirs": {"predictions": "/nowhere"}}, "external.theirs.predictions is /nowhere, which is not there"),
        ({"theirs": {"predictions": ".", "minutes": 3}}, "external.theirs.minutes has no effect"),
        ({"theirs": {"command": ["cp", "{source}"]}}, "external.theirs.command has no {output}"),
        ({"theirs": {"command": ["cp", "{source}", "{out}"]}}, "external.theirs.command has {out}; expected"),
        ({"theirs": {"command": ["cp", "{source}", "{output}"], "space": "source"}}, "space has no effect"),
        ({"theirs": {"predictions": ".", "scale": "best"}}, "external.theirs.scale is 'best'; expected"),
        ({"Theirs": {"predictions": "."}}, "Theirs"),
        (
            {"theirs": {"predictions": ".", "tilte": "x"}},
            "external.theirs.tilte is not a known key; did you mean title",
        ),
    ],
)
def test_mistakes_are_one_line(two_sessions, refused, block, words):
    with refused(words):
        two_sessions("mine")(external=block)


def test_a_study_without_a_test_participants_prediction_stops(two_sessions, tmp_path, refused):
    make = two_sessions("mine")
    tested = sorted(make().tested)
    found = folder(tmp_path, "sub-99_T1w.nii.gz", *(f"{name}_T1w.nii.gz" for name in tested[1:]))
    block = {"theirs": {"predictions": found.predictions}}
    with refused(f"external.theirs.predictions has no file of {tested[0]}, who is tested"):
        make(external=block)
    folder(tmp_path, f"{tested[0]}_T1w.nii.gz")
    study = make(external=block)
    assert study.methods.names[-1] == "theirs" and "theirs" not in study.methods.trained
    assert "theirs" not in study.as_applied
    assert str(study.external("theirs", tested[0])).endswith(f"{tested[0]}_T1w.nii.gz")
    block["theirs"]["trained_on"] = [tested[0].removeprefix("sub-")]
    with refused(f"external.theirs.trained_on has {tested[0]}, who is tested here"):
        make(external=block)


def test_a_command_is_measured_as_applied_and_a_fitted_one_has_a_model(two_sessions):
    command = {"command": ["cp", "{source}", "{output}"]}
    study = two_sessions("mine")(external={"plain": command, "curve": {**command, "scale": "fitted"}})
    assert study.as_applied[-2:] == ["plain", "curve"]
    assert "curve" in study.methods.trained and "plain" not in study.methods.trained
    assert not {"plain", "curve"} & {*study.methods.networks, *study.methods.free}
    name = next(iter(study.tested))
    assert str(study.external("plain", name)).startswith(f"{study.root}/sourcedata/external/plain/")
    assert len(study.models("curve", name)["model"]) == 1


def test_unpaired_studies_have_none(two_sessions, refused):
    with refused("pairing is unpaired, but external is set"):
        two_sessions("mine")(
            pairing="unpaired", methods=["cyclegan"], external={"theirs": {"command": ["cp", "{source}", "{output}"]}}
        )


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(UpfieldError, match=r"external\.theirs\.command begins with nosuchprogram, which was not found"):
        settings.check_programs([External("theirs", command=("nosuchprogram", "{source}", "{output}"))])


def test_the_report_names_who_has_no_row(tmp_path):
    write_tsv(
        tmp_path / "metrics/per_subject.tsv",
        pd.DataFrame(
            [(name, method, "0", "n/a", "test", "brain", "psnr", 20.0)
             for name, methods in (("sub-01", ("identity", "theirs")), ("sub-02", ("identity",)))
             for method in methods],
            columns=COLUMNS,
        ),
    )  # fmt: skip
    config = {"external": {"theirs": {"predictions": "x", "trained_on": ["a", "b"]}}}
    (row,) = section.build(StudyContext(tmp_path, config, {}, Narrative()))["external"]
    assert row["missing"] == ["sub-02"] and row["trained_on"] == 2
    assert section.applies(StudyContext(tmp_path, config, {}, Narrative()))
    assert not section.applies(StudyContext(tmp_path, {}, {}, Narrative()))


def test_a_methods_text_says_that_they_were_not_trained_here():
    config = {"external": {"a": {"predictions": "x", "reference": "Doe [1]"}, "b": {"command": ["c"], "title": "B 2"}}}
    said = settings.methods_sentence(config, {})
    assert "a, Doe (1), from predictions that were given, normalized as scans are" in said
    assert "B 2 (b), run as a command" in said and said.startswith("methods that were not trained here: ")
    assert settings.methods_sentence({"external": {}}, {}) == ""
