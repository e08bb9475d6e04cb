"""Distortion against perception: how near outputs and single samples are to the target, and how sharp."""

import pandas as pd

from upfield.evaluate import metrics as quality
from upfield.evaluate.case import Case, Said
from upfield.files import write_tsv
from upfield.image.nifti import Array
from upfield.step import step

OUTPUT, SAMPLE = "output", "sample"
COLUMNS = ["participant_id", "method", "fold", "image", "psnr", "ssim", "sharpness"]
MEASURED = ("psnr", "ssim", "laplacian_variance")


@step(version=0, memory=(400, 250), minutes=(0.1, 0.05))
def perceive(case: Said, perception: str) -> None:
    """Write what `perceived` gives of a test participant."""
    write_tsv(perception, perceived(Case.of(case)))


def perceived(case: Case) -> pd.DataFrame:
    """PSNR, SSIM and sharpness in the brain of every method's output, and of a sample of each sampler.

    Sharpness is the metric `laplacian_variance` divided by that of the target: 1 is as sharp, or as noisy. The mean of
    all images that the target could be is nearest to it and too smooth; a sample is one of them, farther from the
    target and as sharp (Blau and Michaeli 2018, https://doi.org/10.1109/CVPR.2018.00652). No rows if the pair was
    excluded.
    """
    if case.excluded is not None:
        return pd.DataFrame(columns=COLUMNS)
    target, brain = case.reference_image.data, case.brain
    reference = quality.Reference(target, {quality.BRAIN: brain}, quality.reference_range(target, brain))
    own = {metric: value for _, metric, value in reference.own(MEASURED)}

    def row(method: str, image: str, data: Array) -> tuple[object, ...]:
        found = {metric: value for _, metric, value in reference.measure(data, list(MEASURED))}
        sharpness = found["laplacian_variance"] / own["laplacian_variance"]
        return case.participant, method, case.fold, image, found["psnr"], found["ssim"], sharpness

    rows = [row(method, OUTPUT, case.output(method)) for method in case.outputs]
    rows += [row(method, SAMPLE, case.sample(method)) for method in case.samples if method in case.outputs]
    return pd.DataFrame(rows, columns=COLUMNS)
