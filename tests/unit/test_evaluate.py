"""One participant from files to rows: regions, the whole volume, tissues of outputs, and the tables made of them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage import metrics as reference
from upfield.bids import sidecar
from upfield.errors import UpfieldError
from upfield.evaluate import atlas, subject, tables, tissues
from upfield.evaluate.case import Case
from upfield.evaluate.metrics.regions import tissue_regions
from upfield.evaluate.statistics import QUANTITIES
from upfield.evaluate.tissues import label_names
from upfield.files import read_json, read_tsv, write_json
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.quality.pair import dice

NAMES = ["psnr", "ssim", "mae", "mse", "rmse", "snr", "pearson"]
AFFINE = np.diag([2.0, 2, 2, 1])


def shells(noise, seed=0, growth=0.0):
    """Three nested tissues in an empty field of view, dark to bright; `growth` moves the inner boundaries outwards."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (46, 44, 48)], indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    labels = sum((radius < edge).astype(int) for edge in (0.62, 0.5 + growth, 0.35 + growth))
    values = np.choose(labels, [0, 60, 150, 240]) + noise * np.random.default_rng(seed).normal(size=labels.shape)
    return np.where(labels > 0, values, 0).astype(np.float32), labels


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A reference image, its mask and tissues, and two outputs, one of them blurred, with a skull around it."""
    folder = tmp_path_factory.mktemp("evaluate")
    reference, labels = shells(6)
    skull = np.where(labels == 0, 400, 0).astype(np.float32)
    images = {
        "reference": reference, "mask": (labels > 0).astype(np.float32), "gan": shells(10, seed=1)[0],
        "identity": ndimage.gaussian_filter(reference, 1.0) + skull,
    }  # fmt: skip
    paths = {name: str(folder / f"{name}.nii.gz") for name in [*images, "tissues"]}
    for name, data in images.items():
        nifti.save(Volume(data, AFFINE), paths[name])
        write_json(sidecar(paths[name]), {})
    tissues.segment_reference(paths["reference"], paths["mask"], paths["tissues"], "T1w")
    return paths


def segmented(of, labels):
    return tissues.compared(of, labels, tissue_regions)


def case(files, judged_by=None, **outputs):
    """The participant, with other or more outputs."""
    return Case(
        participant="sub-01", fold="0", seeds={"gan": [1, 2]}, reference=files["reference"], mask=files["mask"],
        outputs={name: files[name] for name in ("identity", "gan")} | outputs,
        judged_by=[judged_by or files["gan"]], suffix="T1w",
    )  # fmt: skip


def measured(files, metrics=NAMES, labels=None, outputs=None, **options):
    return subject.measured(case(files, **outputs or {}), labels or {}, metrics, **options)


def test_rows_of_every_method_region_and_metric(files):
    labels = {files["tissues"]: label_names(files["tissues"])}
    values, own = measured(files, labels=labels, threads=2)
    assert list(values.columns) == subject.COLUMNS and set(values.split) == {"test"}
    assert set(values.region) == {"brain", "csf", "grey", "white", "volume"}
    assert dict(zip(values.method, values.seed, strict=True)) == {"identity": "n/a", "gan": "1+2"}
    counts = values.groupby(["method", "region"]).metric.apply(list)
    assert counts["gan", "brain"] == counts["identity", "csf"] == NAMES and counts["gan", "volume"] == NAMES[:5]
    assert set(own.metric) == {"snr"} and list(own.region) == ["brain", "csf", "grey", "white"]
    single, _ = measured(files, labels=labels, threads=1)
    pd.testing.assert_frame_equal(values, single, check_exact=True)


def test_the_step_writes_what_is_measured_from_the_params_of_its_rule(files, tmp_path):
    """A case as text, and the label images that a study has."""
    said = dataclasses.asdict(case(files))
    paths = [str(tmp_path / name) for name in ("values.tsv", "reference.tsv")]
    subject.measure(said, paths[0], ["psnr", "snr"], paths[1], tissues=files["tissues"])
    for path, expected in zip(
        paths, measured(files, ["psnr", "snr"], {files["tissues"]: label_names(files["tissues"])}), strict=True
    ):
        found = read_tsv(path)
        assert list(found.columns) == list(expected.columns) and len(found) == len(expected)
        np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-6)


def test_regions_of_your_own_on_any_grid(files, tmp_path):
    """A user's label image, stored flipped and at half the spacing: the same values as on the grid."""
    labels = nifti.load_labels(files["tissues"])
    same, other, broken = (str(tmp_path / name) for name in ("same.nii.gz", "other.nii.gz", "broken.nii.gz"))
    ball = labels.with_data((7 * (labels.data == 3)).astype(np.int32))
    nifti.save(ball, same)
    # Each voxel becomes eight of its size, with the first axis reversed.
    fine = np.diag([-1.0, 1, 1, 1])
    fine[:3, 3] = np.array([2 * labels.data.shape[0] - 1.5, -0.5, -0.5])
    nifti.save(Volume(ball.data.repeat(2, 0).repeat(2, 1).repeat(2, 2)[::-1], fine), other)
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    on_grid, _ = measured(files, labels={same: {7: "core", 9: "absent"}})
    assert set(on_grid.region) == {"brain", "core", "volume"}
    elsewhere, _ = measured(files, labels={broken: {7: "lost"}, other: {7: "core"}})
    pd.testing.assert_frame_equal(on_grid, elsewhere)
    # One that lies in the space of a template, 40 mm aside and turned by a quarter.
    aside = np.array([[0.0, -1, 0, 40], [1, 0, 0, -40], [0, 0, 1, 10], [0, 0, 0, 1]])
    shared, moves = str(tmp_path / "shared.nii.gz"), str(tmp_path / "from-T_to-target_xfm.txt")
    nifti.save(Volume(ball.data, aside @ ball.affine), shared)
    nifti.write_transform(moves, aside)
    in_template, _ = measured(files, labels={shared: {7: "core"}}, from_template={shared: moves})
    pd.testing.assert_frame_equal(on_grid, in_template)


def test_an_atlas_that_cannot_be_used_is_named(refused, tmp_path):
    image, names = tmp_path / "sub-01_dseg.nii.gz", tmp_path / "dseg.tsv"
    image.touch()
    names.write_text("index\tname\n3\tthalamus\n4\tpons\n")
    settings = {"images": str(tmp_path / "{participant}_dseg.nii.gz"), "names": str(names)}

    def check(people=("sub-01", "sub-02"), name=None, **changes):
        space = {"name": name, "image": None, "mask": None}
        study = {"evaluate": {"atlas": settings | changes}, "preprocess": {"template": space}}
        atlas.check(study, people)

    check()
    check(images=None, names=None)
    assert atlas.region_names(names) == {3: "thalamus", 4: "pons"}
    # One image is for everybody if they meet in its space.
    check(images=str(image), name="MNI305")
    with refused("evaluate.atlas.images", "nowhere.nii.gz", "path of an image"):
        check(images="nowhere.nii.gz", name="MNI305")
    for words, changes in (
        (("evaluate.atlas.names is not set",), {"names": None}),
        (("evaluate.atlas.images", "{participant}"), {"images": str(image)}),
        (("evaluate.atlas.images", "no participant"), {"people": ["sub-02"]}),
        (("evaluate.atlas.names", "no file"), {"names": "/nowhere.tsv"}),
    ):
        with refused(*words):
            check(**changes)
    for table, words in (("a\tb\n", "expected index, name"), ("index\tname\n1\tpons\n2\tpons\n", "named twice"),
                         ("index\tname\n1\tbrain\n", "already")):  # fmt: skip
        names.write_text(table)
        with refused("evaluate.atlas.names", words):
            check()


def test_the_whole_volume_is_that_of_scikit_image_without_a_skull(files):
    values, _ = measured(files, metrics=["ssim", "psnr", "rmse"])
    found = values[values.region == "volume"].set_index(["method", "metric"]).value
    mask = nifti.load_mask(files["mask"]).data
    truth = nifti.load(files["reference"]).data.astype(float)
    width = np.diff(np.percentile(truth[mask], [0.5, 99.5]))[0]
    for method in ("gan", "identity"):
        output = np.where(mask, nifti.load(files[method]).data, 0).astype(float)
        ssim = reference.structural_similarity(
            truth, output, data_range=width, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )[1].mean()
        assert found[method, "ssim"] == pytest.approx(ssim, abs=1e-6)
        assert found[method, "psnr"] == pytest.approx(
            reference.peak_signal_noise_ratio(truth, output, data_range=width)
        )
        assert found[method, "rmse"] == pytest.approx(np.sqrt(reference.mean_squared_error(truth, output)))
    brain = values[values.region == "brain"].set_index(["method", "metric"]).value
    assert (found.xs("ssim", level="metric") > brain.xs("ssim", level="metric")).all()


def test_excluded_pairs_and_misplaced_predictions(files, tmp_path):
    marked = str(tmp_path / "marked.nii.gz")
    write_json(sidecar(marked), {"Excluded": "no brain"})
    excluded = case(files, judged_by=marked)
    values, own = subject.measured(excluded, {}, NAMES)
    assert values.empty and own.empty and list(values.columns) == subject.COLUMNS
    assert segmented(excluded, files["tissues"]).empty
    moved = str(tmp_path / "moved.nii.gz")
    nifti.save(Volume(nifti.load(files["gan"]).data, np.diag([2.0, 2, 2.5, 1])), moved)
    with pytest.raises(UpfieldError, match="is not on the grid of"):
        measured(files, outputs={"gan": moved})
    with pytest.raises(UpfieldError, match=r"nowhere\.nii\.gz: it is not there"):
        measured(files, outputs={"gan": str(tmp_path / "nowhere.nii.gz")})


def test_tissues_of_the_target_are_an_image_with_names(files):
    labels = nifti.load_labels(files["tissues"]).data
    assert label_names(files["tissues"]) == {1: "csf", 2: "grey", 3: "white"}
    assert dice(labels == 2, shells(0)[1] == 2) > 0.95
    mask = nifti.load_mask(files["mask"]).data
    assert ((labels > 0) == mask).all()


def test_a_target_without_tissues_is_measured_as_a_whole(files, tmp_path):
    flat, output = str(tmp_path / "flat.nii.gz"), str(tmp_path / "tissues.nii.gz")
    empty = np.zeros((8, 8, 8), np.float32)
    nifti.save(Volume(empty, AFFINE), flat)
    nifti.save(Volume(np.random.default_rng(0).normal(size=empty.shape).astype(np.float32), AFFINE), output)
    tissues.segment_reference(output, flat, str(tmp_path / "labels.nii.gz"), "T1w")
    assert label_names(str(tmp_path / "labels.nii.gz")) == {}
    assert "empty" in read_json(tmp_path / "labels.json")["NoLabels"]


def test_a_moved_boundary_shows_in_dice_and_volume(files, tmp_path):
    grown = str(tmp_path / "grown.nii.gz")
    nifti.save(Volume(shells(6, seed=2, growth=0.06)[0], AFFINE), grown)
    table = segmented(case(files, good=files["gan"], grown=grown), files["tissues"])
    assert list(table.columns) == tissues.SEGMENTATION
    rows = table.set_index(["method", "tissue"])
    assert (rows.dice["good"] > 0.97).all() and rows.dice["grown"]["white"] < 0.9
    truth = nifti.load_labels(files["tissues"]).data
    assert rows.truth_ml["good", "white"] == pytest.approx((truth == 3).sum() * 8 / 1000)
    assert rows.output_ml["grown", "white"] == pytest.approx(
        (shells(0, growth=0.06)[1] == 3).sum() * 8 / 1000, rel=0.02
    )
    scores = tissues.scores(table).set_index(["method", "metric"]).value
    by_hand = 100 * (rows.output_ml["grown", "white"] / rows.truth_ml["grown", "white"] - 1)
    assert scores["grown", "volume_error_white"] == pytest.approx(by_hand) and by_hand > 30


def test_dice_by_hand():
    one, other = np.array([1, 1, 1, 0], bool), np.array([0, 1, 1, 1], bool)
    assert dice(one, other) == pytest.approx(4 / 6) and dice(one, one) == 1 and dice(one, ~one) == 0
    assert np.isnan(dice(one & False, one & False))


def test_summary_joins_outputs_with_references(files):
    values, own = measured(files, metrics=["psnr", "snr"])
    segmentation = pd.DataFrame(
        [
            ["sub-01", "gan", "0", "1+2", "white", 0.9, 11.0, 10.0],
            ["sub-01", "gan", "0", "1+2", "grey", np.nan, np.nan, 5.0],
        ],
        columns=tissues.SEGMENTATION,
    )  # fmt: skip
    made = tables.summarise(values, own, segmentation, methods=["gan"], baselines=["identity"], seed=0)
    assert set(made) == set(tables.TABLES)
    quantities = made["quantities"].set_index(["method", "region", "quantity"])
    assert list(made["quantities"].columns) == QUANTITIES
    assert quantities.loc[("gan", "white", "volume_ml"), ["output", "truth"]].to_list() == [11, 10]
    expected = own.set_index(["region", "metric"]).value["brain", "snr"]
    assert quantities.truth["identity", "brain", "snr"] == expected
    board = made["leaderboard"].set_index(["method", "region", "metric"])
    assert board["mean"]["gan", "brain", "volume_error_white"] == pytest.approx(10)
    assert board["n"]["gan", "brain", "dice_grey"] == 0
    assert set(made["definitions"].metric) == set(made["per_subject"].metric)
    nothing = tables.summarise(
        values[:0], own[:0], segmentation[:0], methods=["gan"], baselines=["identity"], seed=0
    )  # fmt: skip
    assert all(table.empty for name, table in nothing.items())
