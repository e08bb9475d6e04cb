"""Time of the metrics of one 1 mm participant, against the same metrics by scikit-image on the whole volume.

    python benchmarks/evaluate.py [--methods 5] [--threads 2] [--repeats 3]

A simulated head of 176 x 240 x 256 voxels, its brain 1.6 million of them, and as many outputs as methods. Both sides
measure the same outputs in turn, in one process, several outputs at once; the median ratio over the repeats counts.

- shared: what scikit-image has (PSNR, SSIM, MSE, both NRMSEs, entropy, GLCM) or gives with one more line (MAE, RMSE,
  both NMSEs, Pearson, MS-SSIM from SSIM at five scales, Laplacian variance and correlation, Laplacian of Gaussian).
  Ours in the brain and in three tissues; scikit-image's once, on the whole volume, GLCM slice by slice.
- all: every metric of ours, FSIM and VIF too, in the brain and three tissues, against scikit-image's shared ones.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import ndimage
from skimage import feature, filters, measure, metrics, transform
from upfield.evaluate.metrics import METRICS, Reference, reference_range
from upfield.image.nifti import Array

SHAPE = (176, 240, 256)
AXES = (68, 86, 64)
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
ONLY_OURS = ("fsim", "vif", "snr", "cnr", "edge_preservation_index")


def head(methods: int) -> tuple[Array, dict[str, Array], list[Array]]:
    """Reference image, regions and outputs, float32; zero outside the brain as after skull stripping."""
    random = np.random.default_rng(0)
    grid = np.ogrid[tuple(slice(-n / 2, n / 2) for n in SHAPE)]
    brain = sum((axis / size) ** 2 for axis, size in zip(grid, AXES, strict=True)) < 1
    texture = ndimage.gaussian_filter(random.normal(size=SHAPE).astype(np.float32), 4)
    low, high = np.quantile(texture[brain], [0.2, 0.6])
    tissues = {"csf": texture < low, "grey": (texture >= low) & (texture < high), "white": texture >= high}
    regions = {"brain": brain} | {name: mask & brain for name, mask in tissues.items()}
    values = sum(level * regions[name] for level, name in ((200, "csf"), (500, "grey"), (800, "white")))
    reference = np.where(brain, values + 25 * random.normal(size=SHAPE), 0).astype(np.float32)
    outputs = []
    for number in range(methods):
        image = ndimage.gaussian_filter(reference, 0.4 + 0.1 * number) + 15 * random.normal(size=SHAPE)
        outputs.append(np.where(brain, image, 0).astype(np.float32))
    return reference, regions, outputs


def by_scikit_image(reference: Array, output: Array, width: float) -> dict[str, float]:
    """The shared metrics of one output on the whole volume."""
    result = {
        "psnr": metrics.peak_signal_noise_ratio(reference, output, data_range=width),
        "mse": metrics.mean_squared_error(reference, output),
        "nrmse_range": metrics.normalized_root_mse(reference, output, normalization="min-max"),
        "nrmse_euclidean": metrics.normalized_root_mse(reference, output, normalization="euclidean"),
        "mae": float(np.abs(reference - output).mean()),
        "pearson": float(np.corrcoef(reference.ravel(), output.ravel())[0, 1]),
    }
    result["rmse"] = result["mse"] ** 0.5
    result["nmse_variance"] = result["mse"] / float(reference.var())
    result["nmse_energy"] = result["nrmse_euclidean"] ** 2
    pair, value = (reference, output), 1.0
    for level, weight in enumerate(WEIGHTS):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": width}
        similarity = metrics.structural_similarity(*pair, **options)
        result.setdefault("ssim", similarity)
        value *= max(similarity, 0) ** weight
        if level < len(WEIGHTS) - 1:
            pair = tuple(transform.downscale_local_mean(image, (2, 2, 2)) for image in pair)
    result["ms_ssim"] = value
    levels = np.clip(output / width * 64, 0, 63).astype(np.uint8)
    result["entropy"] = measure.shannon_entropy(levels)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrix = sum(
        feature.graycomatrix(part, [1], angles, levels=64, symmetric=True) for part in np.moveaxis(levels, 2, 0)
    )
    for name in ("contrast", "homogeneity"):
        result[f"glcm_{name}"] = float(feature.graycoprops(matrix, name).mean())
    edges = [filters.laplace(image) for image in (output, reference)]
    result["laplacian_variance"] = float(edges[0].var())
    result["edge_preservation_correlation"] = float(np.corrcoef(edges[0].ravel(), edges[1].ravel())[0, 1])
    detail = [filters.laplace(filters.gaussian(image, 1.5)) for image in (output, reference)]
    result["high_frequency_error"] = float(np.linalg.norm(detail[0] - detail[1]) / np.linalg.norm(detail[1]))
    return result


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Print a row per repeat and the median ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("methods", 5), ("threads", 2), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    reference, regions, outputs = head(options.methods)
    width = reference_range(reference, regions["brain"])
    shared = [name for name in METRICS if name not in ONLY_OURS]

    def ours(names: list[str]) -> None:
        measured = Reference(reference, regions, width)
        with ThreadPoolExecutor(options.threads) as pool:
            list(pool.map(lambda output: measured.measure(output, names), outputs))

    def theirs() -> None:
        with ThreadPoolExecutor(options.threads) as pool:
            found = list(pool.map(lambda output: by_scikit_image(reference, output, width), outputs))
        assert set(found[0]) == set(shared)

    ratios: dict[str, list[float]] = {"shared": [], "all": []}
    print("seconds (wall / processor)   ours, shared     ours, all        scikit-image, shared")
    for repeat in range(options.repeats):
        rows = [timed(lambda: ours(shared)), timed(lambda: ours(list(METRICS))), timed(theirs)]
        ratios["shared"].append(rows[0][0] / rows[2][0])
        ratios["all"].append(rows[1][0] / rows[2][0])
        print(f"repeat {repeat + 1:<21}", "  ".join(f"{wall:7.1f} /{cpu:7.1f}" for wall, cpu in rows), flush=True)
    for name, values in ratios.items():
        print(
            f"ours / scikit-image, {name}: median {statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
        )


if __name__ == "__main__":
    main()
