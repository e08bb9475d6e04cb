import io
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import ndimage
from upfield import phantom
from upfield.bids import Index, Pair, Scan
from upfield.files import read_json, write_json, write_tsv
from upfield.image import nifti
from upfield.image.nifti import Volume
from upfield.preprocess import derivatives, registration, standardize
from upfield.quality import PICTURES, judging, pair, scan, stage
from upfield.study import designs
from upfield.study.config import ROOT

DEFAULTS = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())

RANDOM = np.random.default_rng(0)
RULE = {"min": 0.5, "action": "exclude"}


# -- one scan ------------------------------------------------------------------------------------------------------


def test_snr_is_mean_over_sample_deviation():
    assert scan.snr(np.array([9.0, 10.0, 11.0])) == pytest.approx(10)
    assert np.isnan(scan.snr(np.array([5.0, 5.0])))


def test_snr_against_air_finds_the_noise_of_a_magnitude_image():
    noise = np.abs(RANDOM.normal(0, 3, 100_000) + 1j * RANDOM.normal(0, 3, 100_000))
    assert scan.snr_air(np.full(10, 60.0), noise) == pytest.approx(20, rel=0.02)
    assert np.isnan(scan.snr_air(np.full(10, 60.0), noise[: scan.ENOUGH_AIR - 1]))


def test_contrast_metrics_by_hand():
    grey, white, air = np.array([3.0, 5.0]), np.array([8.0, 12.0]), np.tile([1.0, 3.0], 1000)
    # RunningMean 4 and 10; standard deviations 1, 2 and 1.
    assert scan.cnr(grey, white, air) == pytest.approx(6 / np.sqrt(1 + 4 + 1))
    assert scan.cnr(grey, white, air[:10]) == pytest.approx(6 / np.sqrt(1 + 4))
    assert scan.cjv(grey, white) == pytest.approx(3 / 6)
    assert np.isnan(scan.cjv(grey, grey))
    assert scan.fber(np.full(5, 30.0), np.full(2000, 3.0)) == pytest.approx(100)
    assert np.isnan(scan.fber(np.full(5, 30.0), np.zeros(0)))


def test_entropy_focus_goes_from_one_bright_voxel_to_a_constant():
    one = np.zeros((4, 4, 4))
    one[1, 2, 3] = 7
    assert scan.efc(one) == pytest.approx(0)
    assert scan.efc(np.full((4, 4, 4), 3.0)) == pytest.approx(1)
    sharp = RANDOM.exponential(1, (20, 20, 20))
    assert 0 < scan.efc(sharp) < scan.efc(ndimage.gaussian_filter(sharp, 1)) < 1
    assert np.isnan(scan.efc(np.zeros((3, 3, 3))))


@pytest.mark.parametrize("bright_fluid", [False, True])
def test_tissues_are_told_apart_by_fluid(bright_fluid):
    levels = {"low": 100.0, "middle": 200.0, "high": 300.0}
    brain = np.concatenate([RANDOM.normal(value, 5, 1000) for value in levels.values()])
    grey, white = scan.tissues(brain, bright_fluid)
    assert grey.mean() == pytest.approx(200, abs=2)
    assert white.mean() == pytest.approx(100 if bright_fluid else 300, abs=2)
    assert [part.size for part in scan.tissues(np.full(50, 4.0), bright_fluid)] == [0, 0]


def test_what_the_scanner_did_is_measured(head):
    low = scan.metrics(head.low, pair.mask_on(head.brain, head.low.grid, np.linalg.inv(head.displacement)), "T1w")
    high = scan.metrics(head.high, head.brain.data > 0, "T1w")
    # The phantom's scanners have a signal-to-noise ratio of 18 and 60 in white matter.
    assert low["snr_air"] == pytest.approx(phantom.scanner.SCANNERS["64mT"].snr, rel=0.2)
    assert high["snr_air"] == pytest.approx(phantom.scanner.SCANNERS["3T"].snr, rel=0.2)
    assert low["cnr"] < high["cnr"] and low["cjv"] > high["cjv"] and low["fber"] < high["fber"]
    voxel = float(np.prod(head.brain.grid.spacing))
    assert high["volume_cm3"] == pytest.approx((head.brain.data > 0).sum() * voxel / 1000, rel=1e-3)


def test_air_is_not_what_was_cut_away(head):
    air = scan.air(head.high)
    assert air.sum() > scan.ENOUGH_AIR
    assert not (air & (head.labels.data > 0)).any()
    stripped = head.high.with_data(head.high.data * (head.brain.data > 0))
    values = scan.metrics(stripped, head.brain.data > 0, "T1w")
    assert np.isnan(values["snr_air"]) and np.isnan(values["fber"]) and np.isfinite(values["cnr"])


# -- a pair --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brains(head):
    """The two sessions of one phantom; true masks."""
    low = Volume(
        pair.mask_on(head.brain, head.low.grid, np.linalg.inv(head.displacement)).astype(np.float32), head.low.affine
    )
    return pair.brain(head.low, low), pair.brain(head.high, head.brain)


def test_a_scan_meets_itself_perfectly(brains):
    target = brains[1]
    meeting = pair.meet(target, target, pair.grid(target), np.eye(4))
    assert pair.mask_dice(meeting) == 1
    assert pair.ncc(meeting) == pytest.approx(1)
    assert pair.mutual_information(meeting) == pytest.approx(2)
    assert pair.edge_overlap(meeting) == 1
    negative = pair.Meeting(-meeting.source, meeting.target, meeting.source_mask, meeting.target_mask)
    assert pair.ncc(negative) == pytest.approx(-1)
    assert pair.edge_overlap(negative) == 1


def test_edges_of_noise_overlap_by_chance():
    mask = np.ones((30, 30, 30), bool)
    meeting = pair.Meeting(RANDOM.normal(size=mask.shape), RANDOM.normal(size=mask.shape), mask, mask)
    assert pair.edge_overlap(meeting) == pytest.approx(pair.EDGES, abs=0.03)
    assert pair.mutual_information(meeting) == pytest.approx(1, abs=0.02)


def test_brains_that_do_not_meet_are_not_measured(brains):
    away = np.eye(4)
    away[0, 3] = 1000
    meeting = pair.meet(*brains, pair.grid(brains[1]), away)
    assert np.isnan([pair.mask_dice(meeting), pair.ncc(meeting), pair.edge_overlap(meeting)]).all()


def test_mirroring_twice_changes_nothing(brains):
    source = brains[0]
    back = source.mirrored.mirrored
    np.testing.assert_array_equal(back.image.affine, source.image.affine)
    assert back.image.data is source.image.data


def test_another_person_is_told_by_the_mirror(head, brains):
    source, target = brains
    same = pair.metrics(source, target, head.displacement)
    other = phantom.simulate(1, phantom.Phantom(subjects=2, spacing=2.0))
    stranger = pair.brain(other.high, other.brain)
    wrong = pair.metrics(source, stranger, registration.register(stranger.image, source.image, "rigid", 42)[0])
    limit = DEFAULTS["qc"]["thresholds"]["flip_gain"]
    assert wrong["mirror_gain"] < limit["min"] < same["mirror_gain"] / 2
    assert same["ncc"] > same["ncc_before"]
    assert same["edge_overlap"] > wrong["edge_overlap"]


def slab(brain, pose=None):
    """Four slices of 10 mm through the middle of a brain; `pose` leads from their world to the brain's."""
    whole = nifti.regrid(brain.mask, (2.0, 2.0, 10.0))
    low, high = nifti.bounding_box(nifti.resample(brain.mask, whole).data > 0.5)
    middle = int(low[2] + high[2]) // 2
    few = nifti.crop(whole, np.array([0, 0, middle - 2]), np.array([*whole.shape[:2], middle + 2]))
    return pair.Brain(*(nifti.resample(part, few, pose) for part in (brain.image, brain.mask)))


def test_another_persons_slab_is_told_by_the_mirror(head, brains):
    target = slab(brains[1])
    # The source's slices are those of the target, as they are matched by eye.
    moves = nifti.Grid(target.image.grid.shape, target.image.affine)
    source = pair.Brain(*(nifti.resample(part, moves, head.displacement) for part in
                          (brains[0].image, brains[0].mask)))  # fmt: skip
    same = pair.metrics(source, target, np.eye(4))
    other = phantom.simulate(1, phantom.Phantom(subjects=2, spacing=2.0))
    stranger = slab(pair.brain(other.high, other.brain))
    wrong = pair.metrics(source, stranger, registration.register(stranger.image, source.image, "rigid", 42)[0])
    limit = DEFAULTS["qc"]["thresholds"]["slab_flip_gain"]
    assert wrong["slab_gain"] < limit["min"] < same["slab_gain"]
    assert np.isnan([same["mirror_gain"], wrong["mirror_gain"]]).all()


# -- verdict -------------------------------------------------------------------------------------------------------


def test_thresholds_exclude_or_warn():
    found = {"source": {"snr": 3.0, "cjv": np.nan}, "target": {"snr": 9.0, "cjv": 0.9}, "pair": {"ncc": 0.2}}
    limits = {
        "snr": {"min": 5, "action": "warn"}, "cjv": {"max": 0.8, "action": "warn"}, "ncc": RULE, "efc": RULE,
        "mask_dice": None,
    }  # fmt: skip
    rows = judging.judge(found, limits)
    assert [(row["role"], row["metric"], row["action"]) for row in rows] == [
        ("pair", "ncc", "exclude"),
        ("source", "snr", "warn"),
        ("target", "cjv", "warn"),
    ]
    assert "NCC is 0.2" in rows[0]["reason"] and "at least 0.5" in rows[0]["reason"]
    assert "of the source is 3" in rows[1]["reason"]


def test_robust_z_by_hand():
    # Median 3, median absolute deviation 1.
    z = judging.robust_z(np.array([1.0, 2, 3, 4, 100]))
    np.testing.assert_allclose(z, 1 / 1.4826 * np.array([-2.0, -1, 0, 1, 97]))
    assert np.isnan(judging.robust_z(np.array([1.0, 2, 3, 100]))).all()
    assert np.isnan(judging.robust_z(np.array([1.0, 1, 1, 1, 9]))).all()


def test_table_flags_those_who_are_worse_than_the_others():
    def report(number, snr):
        metrics = {"source": {"snr": snr}, "target": {}, "pair": {"ncc": None}}
        return {"participant_id": f"sub-{number}", **metrics, "Findings": []}

    reports = [report(number, snr) for number, snr in enumerate([10, 11, 12, 13, 14, 1, 40])]
    reports[1]["Findings"] = [{"role": "source", "metric": "snr", "action": "warn"}]
    table = judging.table(reports, 3.5)
    assert list(table.columns) == ["participant_id", "role", "metric", "value", "z", "flag"]
    flags = table[table["metric"] == "snr"].set_index("participant_id")["flag"]
    # A high signal-to-noise ratio is not a fault.
    assert flags.to_dict() == dict.fromkeys(flags.index, "ok") | {"sub-1": "warn", "sub-5": "outlier"}
    assert set(judging.table(reports, None)["flag"]) == {"ok", "warn"}


def test_those_who_differ_by_next_to_nothing_do_not_stand_apart():
    """Of alike scans the farthest is many deviations away, and nobody would look at it."""
    for last, flag in ((9.0, "ok"), (7.0, "outlier")):
        reports = [
            {"participant_id": f"sub-{number}", "source": {"snr": snr}, "Findings": []}
            for number, snr in enumerate([10, 10.01, 10.02, 10.03, 10.04, last])
        ]
        row = judging.table(reports, 3.5).iloc[-1]
        assert row["z"] < -30 and row["flag"] == flag


# -- the stage -----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(head, tmp_path):
    """A pair on disk whose source has no brain."""
    names = {
        "source": head.low, "source_mask": head.low.with_data(head.low.data * 0), "target": head.high,
        "target_mask": head.brain,
    }  # fmt: skip
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in names}
    for name, volume in names.items():
        derivatives.save_image(volume, paths[name], {})
    paths["transform"] = str(tmp_path / "xfm.txt")
    nifti.write_transform(paths["transform"], np.eye(4))
    write_json(tmp_path / "xfm.json", {"Excluded": "no brain was found"})
    return paths


def test_a_pair_without_a_brain_is_measured_as_far_as_it_goes(files, tmp_path):
    def assess(thresholds):
        output = tmp_path / "quality.json"
        suffixes = {"source": "T1w", "target": "T1w"}
        stage.assess(output, "sub-01", suffixes, thresholds, **files)
        return read_json(output)

    # What another stage has excluded is not this stage's to judge.
    result = assess({"mirror_gain": RULE, "snr": {"min": 1, "action": "exclude"}})
    assert result["source"] == result["pair"] == {}
    assert result["target"]["snr"] > 0
    assert result["Findings"] == [] and "Excluded" not in result
    result = assess({"snr": {"min": 1e6, "action": "exclude"}})
    assert result["Role"] == "target" and "SNR of the target" in result["Excluded"]


def test_the_verdict_excludes_the_pair(files, tmp_path):
    judged, output = tmp_path / "v.json", tmp_path / "out.nii.gz"
    write_json(judged, {"participant_id": "sub-01", "Findings": [], "Excluded": "quality: bad", "Role": "pair"})
    settings = {"spacing": "native", "normalize": {"method": "percentile"}}
    standardize.standardize(
        files["target"], files["target_mask"], files["target_mask"], str(output), settings, decision=str(judged)
    )
    assert derivatives.excluded(output) == "quality: bad"
    scans = {role: Scan("sub-01", role, f"/data/{role}.nii.gz", "sub-01/anat", role, "T1w") for role in stage.SIDES}
    index = Index([], [Pair("sub-01", **scans)], [], [])
    images = (lambda _: str(output),) * 2
    used, left_out = designs.known()["paired"].cohort(index, images, lambda _: str(judged))
    assert used == []
    (row,) = left_out
    assert (row.stage, row.role, row.reason, row.path) == ("qc", "pair", "quality: bad", "/data/target.nii.gz")


# -- what a person sees --------------------------------------------------------------------------------------------


def test_nothing_far_from_the_brain_is_drawn(head):
    from upfield.report import gallery

    distance = ndimage.distance_transform_edt(head.brain.data == 0, sampling=head.brain.grid.spacing)
    painted = head.high.with_data(np.where(distance > gallery.RIM, 5000, head.high.data).astype(np.float32))
    assert gallery.mask_contours(painted, head.brain) == gallery.mask_contours(head.high, head.brain)


def test_left_is_on_the_left_and_the_contour_around_the_brain(awkward, centroid):
    from PIL import Image
    from upfield.report import gallery

    brain = awkward.with_data(awkward.data > 0.2 * awkward.data.max())
    middle = centroid(awkward)
    indices = np.stack([*np.indices(brain.data.shape), np.ones(brain.data.shape)])
    world = np.tensordot(awkward.affine, indices, axes=1)[:3]
    halves = awkward.with_data(np.where(world[0] < middle[0], 100, 20).astype(np.float32))
    made = Image.open(io.BytesIO(gallery.mask_contours(halves, brain))).convert("RGB")
    picture = np.asarray(made).astype(int)
    # A ball is as large along each axis: four rows of four slices, the last from the side.
    rows, columns = (np.linspace(0, size, n + 1).astype(int) for size, n in zip(picture.shape, (4, 4), strict=False))
    for top, bottom in pairwise(rows[:4]):
        for first, last in pairwise(columns):
            part = picture[top:bottom, first:last]
            found = np.argwhere(part[..., 0] - part[..., 2] > 50)
            assert len(found) > 50
            inside = part[tuple(slice(low + 3, high - 3) for low, high in zip(found.min(0), found.max(0), strict=True))]
            left, right = np.array_split(inside.sum(axis=2), 2, axis=1)
            assert left.mean() > 1.5 * right.mean()


def test_of_a_few_thick_slices_every_one_is_drawn():
    from upfield.report import gallery

    inside = np.zeros((40, 44, 9), bool)
    inside[4:36, 4:40, 1:8] = True
    found = gallery.cuts(inside, nifti.Grid(inside.shape, np.diag([5.0, 5, 8, 1])))
    assert [cut for axis, row in found if axis == 2 for cut in row] == list(range(1, 8))
    whole = gallery.cuts(inside, nifti.Grid(inside.shape, np.diag([5.0, 5, 16, 1])))
    assert [(axis, len(row)) for axis, row in whole] == [(2, 4), (2, 3), (1, 4), (0, 4)]


def test_a_pair_without_a_brain_gets_pictures_that_say_so(files, tmp_path):
    from PIL import Image
    from upfield.report import gallery

    outputs = [tmp_path / f"{name}.webp" for name in PICTURES]
    gallery.draw(**files, pictures=outputs)
    sizes = {name: Image.open(path).size for name, path in zip(PICTURES, outputs, strict=True)}
    assert sizes["target-mask"][1] > 300
    assert all(sizes[name][1] < 200 for name in PICTURES if name != "target-mask")


def test_a_contact_sheet_has_a_row_for_each_pair(tmp_path):
    from PIL import Image
    from upfield.report import sheet

    colours = {"sub-01": ("red", "lime"), "sub-02": ("blue", "white")}
    rows = {}
    for name, two in colours.items():
        rows[name] = [tmp_path / f"{name}-{colour}.png" for colour in two]
        for path, colour, size in zip(rows[name], two, ((300, 200), (640, 400)), strict=True):
            Image.new("RGB", size, colour).save(path)
    sheet.contact_sheet(rows, tmp_path / "sheet.webp")
    made = Image.open(tmp_path / "sheet.webp").convert("RGB")
    step = sheet.HEIGHT + sheet.TITLE
    assert made.size == (570 + 608, 2 * step)
    for row, two in enumerate(colours.values()):
        for left, colour in zip((285, 870), two, strict=True):
            expected = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
            found = made.getpixel((left, row * step + step // 2))
            assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 20


def test_doubtful_pairs_come_first(tmp_path):
    from upfield.report.sections import quality as review

    rows = [
        ("sub-1", "pair", "mirror_gain", 0.05, np.nan, "ok"), ("sub-2", "pair", "mirror_gain", 0.03, np.nan, "ok"),
        ("sub-3", "pair", "mirror_gain", 0.09, np.nan, "ok"), ("sub-3", "source", "snr", 0.09, np.nan, "warn"),
        ("sub-4", "pair", "mirror_gain", 0.00, np.nan, "exclude"), ("sub-4", "pair", "ncc", 0.8, np.nan, "ok"),
        ("sub-4", "pair", "ncc_before", 0.2, np.nan, "ok"),
    ]  # fmt: skip
    write_tsv(tmp_path / "qc/quality.tsv", pd.DataFrame(rows, columns=judging.COLUMNS))
    for _, person in {(row[0], row[0]) for row in rows}:
        for name in PICTURES:
            path = tmp_path / f"qc/figures/{person}_{name}.webp"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"RIFF0000WEBP")
    section = review.quality(tmp_path)
    assert [entry["participant_id"] for entry in section["shown"]] == ["sub-4", "sub-3", "sub-2", "sub-1"]
    assert section["shown"][1]["findings"] == ["SNR of the source: warn"]
    assert section["pairs"]["rows"][-1]["cells"]["ncc"] == {"value": 0.8, "before": 0.2, "flag": "ok"}
    empty = review.quality(tmp_path / "nothing")
    assert empty["shown"] == [] and empty["scans"]["rows"] == []
