"""Metrics: values worked out by hand or by scikit-image, and nothing outside the mask counts."""

import itertools
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import metrics as reference
from upfield.errors import ScanError, UpfieldError
from upfield.evaluate.metrics import (
    ALONE,
    METRICS,
    Reference,
    compute,
    compute_regions,
    definitions,
    reference_range,
    tissue_regions,
)
from upfield.image.nifti import Volume

NAMES = list(METRICS)
WINDOWED = {"ssim", "ms_ssim", "vif", "fsim", "high_frequency_error", "edge_preservation_correlation",
            "laplacian_variance"}  # fmt: skip
VOXELWISE = [name for name in NAMES if name not in WINDOWED]
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
ROOT = Path(__file__).parents[2]


def make_images(shape=(20, 24, 22), seed=0):
    """A smooth truth around 100 and a noisy output, float32."""
    random = np.random.default_rng(seed)
    truth = 100 + 400 * ndimage.gaussian_filter(random.normal(size=shape), 2)
    output = 1.1 * truth + 10 * random.normal(size=shape)
    return output.astype(np.float32), truth.astype(np.float32)


def ellipsoid(shape, radius=0.8):
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return sum(a**2 for a in axes) < radius**2


@pytest.fixture(scope="module")
def brain():
    output, truth = make_images()
    mask = ellipsoid(truth.shape)
    return output, truth, mask, reference_range(truth, mask)


def test_values_worked_out_by_hand():
    truth = np.arange(8.0).reshape(2, 2, 2)
    output = truth + np.array([1, -1, 1, -1, 3, -1, 1, -1]).reshape(2, 2, 2)
    # 64 levels over a range of 8 that starts at the 0.5 percentile, 0.035; in a cube of 2 all voxels are neighbours.
    levels = [int((value - 0.035) * 8) if value else 0 for value in output.ravel()]
    steps = [a - b for a, b in itertools.combinations(levels, 2)]
    # Squared errors: seven of 1, one of 9. Sums of squares about the means 3.5 and 3.75: 42 and 51.5; of products: 39.
    assert compute(output, truth, np.ones((2, 2, 2), bool), 8.0, VOXELWISE) == pytest.approx(
        {
            "psnr": 10 * np.log10(8 * 8 / 2),
            "mae": 10 / 8,
            "mse": 2.0,
            "rmse": np.sqrt(2),
            "nrmse_range": np.sqrt(2) / 7,
            # The squares of 0 to 7 sum to 140.
            "nrmse_euclidean": np.sqrt(16 / 140),
            "nmse_variance": 2 / (42 / 8),
            "nmse_energy": 16 / 140,
            "pearson": 39 / np.sqrt(42 * 51.5),
            # Neighbours differ by 1 1 3 1, 2 2 0 2 and 6 4 4 4 along the axes; in the truth by 1, 2 and 4 each time.
            "edge_preservation_index": 30 / 28,
            "snr": 3.75 / np.sqrt(51.5 / 7),
            "cnr": np.nan,
            # One of eight values occurs twice.
            "entropy": 6 / 8 * 3 + 2 / 8 * 2,
            "glcm_contrast": np.mean([step**2 for step in steps]),
            "glcm_homogeneity": np.mean([1 / (1 + step**2) for step in steps]),
        },
        rel=1e-12,
        nan_ok=True,
    )


def test_full_mask_agrees_with_scikit_image():
    output, truth = make_images()
    width = reference_range(truth, np.ones(truth.shape, bool))
    found = compute(output, truth, np.ones(truth.shape, bool), width, NAMES)
    pair = [image.astype(float) for image in (truth, output)]
    assert found["psnr"] == pytest.approx(reference.peak_signal_noise_ratio(*pair, data_range=width), rel=1e-12)
    assert found["mse"] == pytest.approx(reference.mean_squared_error(*pair), rel=1e-12)
    for name, way in (("nrmse_range", "min-max"), ("nrmse_euclidean", "euclidean")):
        assert found[name] == pytest.approx(reference.normalized_root_mse(*pair, normalization=way), rel=1e-12)
    _, similarity = reference.structural_similarity(*pair, data_range=width, **WANG)
    # scikit-image mirrors the image at its border, where our window stops: they agree away from it.
    core = np.zeros(truth.shape, bool)
    core[5:-5, 5:-5, 5:-5] = True
    regions = {"brain": np.ones(truth.shape, bool), "core": core}
    rows = {region: value for region, _, value in compute_regions(output, truth, regions, width, ["ssim"])}
    assert rows["core"] == pytest.approx(similarity[core].mean(), rel=1e-9)
    assert rows["brain"] == pytest.approx(similarity.mean(), abs=0.01)
    assert found["pearson"] == pytest.approx(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1], rel=1e-12)


@pytest.mark.parametrize(
    "box",
    [
        (slice(12, 20), slice(14, 22), slice(10, 18)),
        (slice(0, 1), slice(0, 2), slice(35, 36)),
        (slice(3, 5), slice(38, 40), slice(0, 36)),
    ],
    ids=["inside", "corner", "edges"],
)
def test_ssim_stops_at_the_mask_wherever_it_lies(box):
    output, truth = make_images((34, 40, 36))
    mask = np.zeros(truth.shape, bool)
    mask[box] = True
    by_hand = [ssim_by_hand(output, truth, mask, voxel, 50.0, (1.5, 1.5, 1.5)) for voxel in np.argwhere(mask)]
    assert compute(output, truth, mask, 50.0, ["ssim"])["ssim"] == pytest.approx(np.mean(by_hand), rel=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_ssim_of_a_thin_slab_is_in_plane(axis):
    output, truth = make_images((20, 22, 4))
    mask = ellipsoid((20, 22, 4), 1.05)
    by_hand = [ssim_by_hand(output, truth, mask, voxel, 50.0, (1.5, 1.5, 0.0)) for voxel in np.argwhere(mask)]
    turned = [np.moveaxis(image, 2, axis) for image in (output, truth, mask)]
    assert compute(*turned, 50.0, ["ssim"])["ssim"] == pytest.approx(np.mean(by_hand), rel=1e-9)


def ssim_by_hand(output, truth, mask, voxel, data_range, sigma):
    """Wang's formula at one voxel, with Gaussian weights over the voxels of the mask that the window reaches."""
    places = np.argwhere(mask)
    away = places - voxel
    reached = np.all(np.abs(away) <= [5 if s else 0 for s in sigma], axis=1)
    places, away = places[reached], away[reached]
    weights = np.exp(-sum((away[:, i] / s) ** 2 for i, s in enumerate(sigma) if s) / 2)
    x, y = (image[tuple(places.T)].astype(float) for image in (output, truth))

    def mean(values):
        return np.average(values, weights=weights)

    covariance = mean((x - mean(x)) * (y - mean(y)))
    spread = mean((x - mean(x)) ** 2) + mean((y - mean(y)) ** 2)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean(x) * mean(y) + c1) / (mean(x) ** 2 + mean(y) ** 2 + c1)
    return luminance * (2 * covariance + c2) / (spread + c2)


def test_ssim_needs_a_window_in_two_axes():
    output, truth = make_images((20, 10, 4))
    with pytest.raises(ScanError, match=r"shape \(20, 10, 4\) is too small for SSIM; expected 11 voxels"):
        compute(output, truth, truth > 0, 50.0, ["ssim"])


def test_background_does_not_matter(brain):
    output, truth, mask, width = brain
    before = compute(output, truth, mask, width, NAMES)
    spoilt = [np.where(mask, image, value) for image, value in ((output, np.nan), (truth, -1e6))]
    assert compute(*spoilt, mask, reference_range(spoilt[1], mask), NAMES) == before


def test_the_range_comes_from_the_truth_alone(brain):
    output, truth, mask, width = brain
    outlier = output.copy()
    outlier[tuple(np.argwhere(mask)[0])] = 1e5
    error = np.square(outlier[mask].astype(float) - truth[mask]).mean()
    assert width == pytest.approx(np.diff(np.percentile(truth[mask], [0.5, 99.5]))[0])
    assert compute(outlier, truth, mask, width, ["psnr"])["psnr"] == pytest.approx(10 * np.log10(width**2 / error))


def test_identical_images_are_ideal(brain):
    _, truth, mask, width = brain
    regions = {"brain": mask, "grey": mask & (truth < 100), "white": mask & (truth >= 100)}
    reference = Reference(truth, regions, width)
    own = {row[:2]: row[2] for row in reference.own(NAMES)}
    assert {name for _, name in own} == ALONE == {name for name in NAMES if METRICS[name].ideal is None}
    for region, name, value in reference.measure(truth, NAMES):
        ideal = own[region, name] if name in ALONE else METRICS[name].ideal
        assert value == pytest.approx(ideal, abs=1e-9, nan_ok=True), (region, name)


def test_values_are_in_their_range_and_get_worse_with_noise(brain):
    _, truth, mask, width = brain
    noise = np.random.default_rng(3).normal(size=truth.shape)
    better, worse = (compute(truth + size * noise, truth, mask, width, NAMES) for size in (2, 20))
    for name in set(NAMES) - ALONE:
        factor = {"higher": 1, "lower": -1, "nearer": -np.sign(worse[name] - 1)}[METRICS[name].better]
        assert factor * better[name] > factor * worse[name], name
    assert worse["snr"] < better["snr"]
    assert worse["laplacian_variance"] > better["laplacian_variance"]
    assert worse["glcm_contrast"] > better["glcm_contrast"]
    assert worse["glcm_homogeneity"] < better["glcm_homogeneity"]
    for values in (better, worse):
        for name in NAMES:
            low, high = {"−1 to 1": (-1, 1), "0 to 1": (0, 1), "≥ 0": (0, np.inf), "any": (-np.inf, np.inf),
                         "0 to 8": (0, 8), "0 to 3969": (0, 63**2)}[METRICS[name].values]  # fmt: skip
            assert low <= values[name] <= high or name == "cnr"


def test_constant_images_have_no_correlation_and_a_constant_truth_no_range(brain):
    output, truth, mask, width = brain
    flat = np.full(truth.shape, 0.1)
    regions = {"brain": mask, "grey": mask & (truth < 100), "white": mask & (truth >= 100)}

    def undefined(output, truth):
        rows = compute_regions(output, truth, regions, width, NAMES)
        values = {name: value for region, name, value in rows if region == "brain"}
        assert not np.isinf(list(values.values())).any()
        return {name for name, value in values.items() if np.isnan(value)}, values

    nothing, values = undefined(flat, truth)
    assert nothing == {"pearson", "edge_preservation_correlation", "snr", "cnr"}
    assert values["vif"] == values["entropy"] == values["glcm_contrast"] == 0 and values["glcm_homogeneity"] == 1
    assert values["laplacian_variance"] < 1e-20 and values["edge_preservation_index"] == 0
    nothing, values = undefined(output, flat)
    assert nothing == {
        "pearson", "edge_preservation_correlation", "nrmse_range", "nmse_variance", "vif", "high_frequency_error",
        "edge_preservation_index",
    }  # fmt: skip
    with pytest.raises(ScanError, match="constant in the brain mask"):
        reference_range(flat, mask)


def test_a_truth_of_zeros_has_no_energy(brain):
    output, _, mask, width = brain
    found = compute(output, np.zeros_like(output), mask, width, ["nrmse_euclidean", "nmse_energy", "mae"])
    assert np.isnan(found["nrmse_euclidean"]) and np.isnan(found["nmse_energy"]) and found["mae"] > 0


def test_bad_input_is_named(brain):
    output, truth, mask, width = brain
    broken = output.copy()
    broken[10, 12, 10:12] = np.nan, np.inf
    with pytest.raises(ScanError, match="the output has 2 NaN or infinite values inside the brain mask"):
        compute(broken, truth, mask, width, ["mae"])
    with pytest.raises(ScanError, match="the reference has 2 NaN"):
        compute(output, broken, mask, width, ["mae"])
    with pytest.raises(ScanError, match="brain mask is empty"):
        compute(output, truth, np.zeros_like(mask), width, ["mae"])
    with pytest.raises(ScanError, match="empty"):
        reference_range(truth, np.zeros_like(mask))
    with pytest.raises(ValueError, match="one shape"):
        compute(output[1:], truth, mask, width, ["mae"])
    with pytest.raises(ValueError, match="positive"):
        compute(output, truth, mask, 0.0, ["psnr"])
    with pytest.raises(UpfieldError, match="found psnrr; expected names among psnr, ssim"):
        compute(output, truth, mask, width, ["psnrr"])


def test_regions(brain):
    output, truth, mask, width = brain
    left = mask.copy()
    left[10:] = False
    regions = {"brain": mask, "none": np.zeros_like(mask), "left": left, "right": mask & ~left}
    rows = compute_regions(output, truth, regions, width, NAMES)
    assert [row[:2] for row in rows] == [(r, name) for r in ("brain", "left", "right") for name in NAMES]
    values = {row[:2]: row[2] for row in rows}
    assert {name: values["brain", name] for name in NAMES} == compute(output, truth, mask, width, NAMES)
    alone = compute(output, truth, left, width, NAMES)
    # Windows of a region see the brain around it, and its grey levels are those of the brain.
    shared = WINDOWED | {"entropy", "glcm_contrast", "glcm_homogeneity"}
    assert {name for name in NAMES if abs(values["left", name] - alone[name]) > 1e-9} == shared
    share = left.sum() / mask.sum()
    for name in ("ssim", "mae", "mse"):
        together = share * values["left", name] + (1 - share) * values["right", name]
        assert together == pytest.approx(values["brain", name], rel=1e-12)


def test_one_voxel_is_enough_of_a_region(brain):
    output, truth, mask, width = brain
    voxel = np.zeros_like(mask)
    voxel[10, 12, 11] = True
    rows = compute_regions(output, truth, {"brain": mask, "voxel": voxel}, width, NAMES)
    nothing = {name for region, name, value in rows if region == "voxel" and np.isnan(value)}
    # What needs spread or neighbours; the coarse scales of MS-SSIM still hold a share of the voxel.
    assert nothing == {
        "nrmse_range", "nmse_variance", "pearson", "edge_preservation_index", "edge_preservation_correlation", "snr",
        "cnr", "glcm_contrast", "glcm_homogeneity",
    }  # fmt: skip


def test_several_outputs_share_a_truth_also_between_threads(brain):
    output, truth, mask, width = brain
    outputs = [output + offset for offset in range(4)]
    shared = Reference(truth, {"brain": mask}, width)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: shared.measure(image, NAMES), outputs))
    alone = [compute_regions(image, truth, {"brain": mask}, width, NAMES) for image in outputs]
    for one, other in zip(together, alone, strict=True):
        assert [row[:2] for row in one] == [row[:2] for row in other]
        assert np.array_equal([row[2] for row in one], [row[2] for row in other], equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_units_do_not_matter(seed, gain, offset):
    """A change of scale leaves every ratio as it is; a change of offset all but SSIM."""
    random = np.random.default_rng(seed)
    output, truth = random.normal(size=(2, 3, 4, 5))
    mask = random.random((3, 4, 5)) < 0.7
    ratios = ["psnr", "nrmse_range", "nmse_variance", "pearson"]
    before = compute(output, truth, mask, 2.0, ratios)
    after = compute(output * gain + offset, truth * gain + offset, mask, 2.0 * gain, ratios)
    assert after == pytest.approx(before, rel=1e-6, abs=1e-6, nan_ok=True)
    assert -1 <= before["pearson"] <= 1 and before["nrmse_range"] > 0


def head(noise=15.0):
    """Nested shells as in a T1w brain (dark outside, bright inside), oblique affine, float32; the true labels 0-3."""
    shape = (30, 36, 32)
    labels = sum(ellipsoid(shape, radius).astype(int) for radius in (0.85, 0.7, 0.5))
    random = np.random.default_rng(1)
    data = np.choose(labels, [900, 60, 150, 240]) + noise * random.normal(size=shape)
    affine = np.array([[-1.5, 0.1, 0, 20], [0.1, 1.5, 0, -30], [0, 0, 2, 5], [0, 0, 0, 1]])
    return Volume(data.astype(np.float32), affine), labels


def test_tissues_are_found_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    truth, labels = head()
    regions = tissue_regions(truth, labels > 0)
    assert list(regions) == ["csf", "grey", "white"]
    assert (sum(region.astype(int) for region in regions.values()) == (labels > 0)).all()
    for label, region in enumerate(regions.values(), start=1):
        assert 2 * (region & (labels == label)).sum() / (region.sum() + (labels == label).sum()) > 0.95
    assert tempfile.tempdir == str(tmp_path) and list(tmp_path.iterdir()) == []


def test_a_few_bright_vessels_are_not_a_tissue(tmp_path):
    truth, labels = head()
    bright = truth.data.copy()
    bright[tuple(np.argwhere(labels == 3)[::200].T)] = 3000.0
    regions = tissue_regions(truth.with_data(bright), labels > 0)
    for label, region in enumerate(regions.values(), start=1):
        assert 2 * (region & (labels == label)).sum() / (region.sum() + (labels == label).sum()) > 0.95


def test_tissues_are_repeatable_where_it_is_hard_to_tell():
    truth, labels = head(noise=60.0)
    first, *again = (tissue_regions(truth, labels > 0, suffix=suffix) for suffix in ("T1w", "T2w", "T2w"))
    for regions in again:
        assert list(regions) == ["class1", "class2", "class3"]
        assert all((a == b).all() for a, b in zip(first.values(), regions.values(), strict=True))


def test_tissues_that_cannot_be_found():
    truth, labels = head()
    with pytest.raises(ScanError, match="empty"):
        tissue_regions(truth, labels > 9)
    with pytest.raises(ScanError, match="constant"):
        tissue_regions(truth.with_data(np.ones(labels.shape, np.float32)), labels > 0)


def test_every_metric_is_defined_in_words_with_a_source():
    table = definitions()
    assert set(NAMES) <= set(table.metric) and not table.isna().any(axis=None) and (table != "").all(axis=None)
    for name in NAMES:
        text = METRICS[name].function.__doc__
        first, rest = text.split("\n", 1)
        assert first.endswith((".", ",", ";")) or len(first) > 60, name
        cited = any(mark in rest for mark in ("doi.org", "arxiv.org", "Proc.", "source as"))
        # Or a journal by volume and pages.
        assert cited or re.search(r"\d+:\d+[–-]\d+", rest), name
        # The source of the table is that of the docstring.
        year = METRICS[name].source.split(",")[0].split()[-1]
        assert year in text or "source as" in rest, name
    assert definitions(["mae", "ssim"]).metric.to_list() == ["mae", "ssim"]
