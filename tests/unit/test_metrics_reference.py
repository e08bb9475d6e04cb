"""Each metric against a library that is not ours: scikit-image, SciPy, MONAI, torchmetrics, or PIQ's numbers.

These libraries know no mask: a full one is given, and maps are compared away from the border, where ours stops its
windows and they mirror the image; or both images end in a rim of zeros, where every window agrees.
"""

import numpy as np
import pytest
import torch
from monai.metrics.regression import KernelType, compute_ssim_and_cs
from scipy import ndimage
from skimage import feature, filters, measure
from torchmetrics.functional.image import visual_information_fidelity
from upfield.evaluate.metrics import Reference, compute, compute_regions, structure
from upfield.evaluate.metrics.frame import Pair, Picture

RANGE = 80.0


def images(shape, seed=0):
    """A smooth truth and a noisy, flatter output, float64."""
    random = np.random.default_rng(seed)
    truth = 100 + 200 * ndimage.gaussian_filter(random.normal(size=shape), 1.5)
    return 0.8 * truth + 25 + 4 * random.normal(size=shape), truth


def rimmed(shape, rim, seed=1):
    """A pair in 0 to 1 with a rim of zeros."""
    random = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(random.normal(size=shape), 2.0)
    truth = (truth - truth.min()) / np.ptp(truth)
    inside = np.zeros(shape)
    inside[tuple(slice(rim, -rim) if size > 1 else slice(None) for size in shape)] = 1
    truth = truth * inside
    return np.clip(0.8 * truth + 0.05 * inside * random.normal(size=shape) * truth, 0, 1), truth


def in_core(output, truth, name, margin=8):
    """A metric over the part that no border reaches, and that part."""
    core = np.zeros(truth.shape, bool)
    core[tuple(slice(margin, -margin) for _ in truth.shape)] = True
    regions = {"brain": np.ones(truth.shape, bool), "core": core}
    rows = compute_regions(output, truth, regions, RANGE, [name])
    return next(value for region, _, value in rows if region == "core"), core


def full(output, truth, name, data_range=RANGE):
    return compute(output, truth, np.ones(truth.shape, bool), data_range, [name])[name]


def tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float64)[None, None] for array in arrays]


def test_ms_ssim_is_that_of_monai():
    # Wide enough for all five scales, with a rim of 10 voxels left on the coarsest.
    output, truth = rimmed((352, 368, 1), 162)
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    value, pair = 1.0, tensors(output[..., 0], truth[..., 0])
    for level, weight in enumerate(weights):
        maps = compute_ssim_and_cs(
            *pair, spatial_dims=2, kernel_size=[11] * 2, kernel_sigma=[1.5] * 2, data_range=1.0,
            kernel_type=KernelType.GAUSSIAN,
        )  # fmt: skip
        field, voxels = maps[0 if level == 4 else 1], pair[0].numel()
        # MONAI drops windows that reach beyond the image; here they see zeros in both images and are worth 1.
        value *= ((float(field.sum()) + voxels - field.numel()) / voxels) ** weight
        pair = [torch.nn.functional.avg_pool2d(image, 2) for image in pair]
    assert 1 - full(output, truth, "ms_ssim", 1.0) == pytest.approx(1 - value, rel=1e-3)
    assert value < 0.999


def test_ms_ssim_of_a_volume_is_made_of_maps_like_those_of_monai():
    output, truth = images((34, 30, 32))
    whole = Reference(truth, {"brain": np.ones(truth.shape, bool)}, RANGE)
    pair = Pair(Picture(whole.frame, output), whole.image)
    half = Pair(pair.output.half, pair.reference.half)
    library = tensors(output, truth)
    for ours in (pair, half):
        ssim, contrast = compute_ssim_and_cs(
            *library, spatial_dims=3, kernel_size=[11] * 3, kernel_sigma=[1.5] * 3, data_range=RANGE,
            kernel_type=KernelType.GAUSSIAN,
        )  # fmt: skip
        core = (slice(5, -5),) * 3
        assert structure.contrast(ours)[core] == pytest.approx(contrast[0, 0].numpy(), abs=1e-3)
        assert structure.similarity(ours)[core] == pytest.approx(ssim[0, 0].numpy(), abs=1e-3)
        library = [torch.nn.functional.avg_pool3d(image, 2) for image in library]


def test_vif_is_that_of_torchmetrics():
    output, truth = rimmed((128, 120, 1), 40)
    by_library = visual_information_fidelity(*tensors(255 * output[..., 0], 255 * truth[..., 0])).item()
    assert full(output, truth, "vif", 1.0) == pytest.approx(by_library, rel=1e-9)


def test_fsim_is_that_of_piq():
    """PIQ 0.8.0 (it needs torchvision, so its number stands here): fsim(x, y, data_range=1, chromatic=False)."""
    output, truth = rimmed((64, 60, 1), 8, seed=5)
    assert full(output, truth, "fsim", 1.0) == pytest.approx(0.9763906872448312, rel=1e-5)
    # Three slices alike, or turned by 180 degrees, are as similar as one.
    three = [np.repeat(image, 3, axis=2) for image in (output, truth)]
    turned = [image[::-1, ::-1] for image in (output, truth)]
    assert full(*three, "fsim", 1.0) == pytest.approx(full(*turned, "fsim", 1.0), rel=1e-4)


def test_entropy_is_that_of_scikit_image():
    output, truth = images((20, 21, 22))
    low = np.percentile(truth, 0.5)
    bins = np.clip(np.floor((output - low) / RANGE * 256), 0, 255)
    assert full(output, truth, "entropy") == pytest.approx(measure.shannon_entropy(bins), rel=1e-12)


def test_texture_is_that_of_scikit_image():
    output, truth = images((40, 36, 1))
    levels = np.clip((output - np.percentile(truth, 0.5)) / RANGE * 256, 0, 255).astype(np.uint8) // 4
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    # Directions have different numbers of pairs: pool their counts, as a 3-D matrix does.
    matrix = feature.graycomatrix(levels[..., 0], [1], angles, levels=64, symmetric=True).sum(axis=3, keepdims=True)
    for name in ("contrast", "homogeneity"):
        by_library = feature.graycoprops(matrix / matrix.sum(), name)[0, 0]
        assert full(output, truth, f"glcm_{name}") == pytest.approx(by_library, rel=1e-9)


def test_sharpness_and_edges_are_those_of_scikit_image():
    output, truth = images((30, 32, 31))
    edges = [filters.laplace(image, ksize=3) for image in (output, truth)]
    value, core = in_core(output, truth, "laplacian_variance")
    assert value == pytest.approx(edges[0][core].var() / RANGE**2, rel=1e-9)
    value, core = in_core(output, truth, "edge_preservation_correlation")
    assert value == pytest.approx(np.corrcoef(edges[0][core], edges[1][core])[0, 1], rel=1e-9)


def test_high_frequency_error_is_that_of_scipy():
    output, truth = images((34, 35, 36))
    smooth = [ndimage.gaussian_filter(image, 1.5, truncate=5 / 1.5) for image in (output, truth)]
    edges = [ndimage.laplace(image) for image in smooth]
    value, core = in_core(output, truth, "high_frequency_error")
    by_hand = np.linalg.norm((edges[0] - edges[1])[core]) / np.linalg.norm(edges[1][core])
    assert value == pytest.approx(by_hand, rel=1e-9)
    # The Laplacian of Gaussian proper, sampled, is near to it.
    proper = [ndimage.gaussian_laplace(image, 1.5)[core] for image in (output, truth)]
    assert value == pytest.approx(np.linalg.norm(proper[0] - proper[1]) / np.linalg.norm(proper[1]), rel=0.1)


def test_signal_and_contrast_to_noise_by_hand():
    output, truth = images((12, 13, 14))
    grey, white = truth < 100, truth >= 100
    rows = compute_regions(output, truth, {"brain": grey | white, "grey": grey, "white": white}, RANGE, ["snr", "cnr"])
    values = {row[:2]: row[2] for row in rows}
    assert values["grey", "snr"] == pytest.approx(output[grey].mean() / np.std(output[grey], ddof=1))
    spread = np.sqrt(output[grey].var() + output[white].var())
    assert values["brain", "cnr"] == pytest.approx((output[white].mean() - output[grey].mean()) / spread)
    assert np.isnan(values["grey", "cnr"])
