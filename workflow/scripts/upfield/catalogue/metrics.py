"""What a metric is, as data, and those that no function of a pair of images computes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from upfield.catalogue.parts import PARTS

DICE = "Dice 1945, https://doi.org/10.2307/1932409"

# What segmentation can find: three classes, named for T1w and numbered for other contrasts, or structures.
TISSUES = ("csf", "grey", "white", "class1", "class2", "class3", *PARTS)


@dataclass(frozen=True)
class Metric:
    """One metric: its name in tables, its label in figures, which way is better, and what it is.

    `better` is higher, lower, or nearer to `ideal`; an `ideal` of None is the value of the target itself. `values`
    says what it can be, `unit` is empty for a pure number. A report writes it with as many decimals as `digits` says,
    or with three significant digits. `function` takes an `evaluate.metrics.frame.Sample`. Within a participant a metric
    orders outputs exactly as its `twin` does; reports fold it away beside that.
    """

    name: str
    label: str
    better: Literal["higher", "lower", "nearer"]
    ideal: float | None
    values: str
    definition: str
    source: str
    unit: str = ""
    digits: int | None = None
    function: Callable[[Any], float] | None = None
    twin: str | None = None

    @property
    def alone(self) -> bool:
        """Whether it is a property of one image, to be compared with the target's."""
        return self.ideal is None


# What needs weights of a network, in the whole brain: `evaluate.metrics.lpips`.
LEARNED = (
    Metric(
        name="lpips",
        label="LPIPS (VGG)",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="distance of a VGG's features in axial slices of the brain, weighted by LPIPS' linear layers",
        source="Zhang et al. 2018, https://arxiv.org/abs/1801.03924",
    ),
)


def _of_tissue(tissue: str) -> tuple[Metric, Metric]:
    shown = "CSF" if tissue == "csf" else tissue.replace("_", " ")
    return (
        Metric(
            name=f"dice_{tissue}",
            label=f"Dice, {shown}",
            better="higher",
            ideal=1,
            values="0 to 1",
            definition=f"overlap of {tissue} segmented in the output and in the target",
            source=DICE,
        ),
        Metric(
            name=f"volume_error_{tissue}",
            label=f"Volume error, {shown}",
            better="lower",
            ideal=0,
            values="≥ 0",
            definition=f"|volume of {tissue} in the output − in the target| / in the target",
            source="by definition",
            unit="%",
        ),
    )


# What the segmentation of the output gives, in the whole brain.
SEGMENTED = tuple(metric for tissue in TISSUES for metric in _of_tissue(tissue))
# Decimals of what `evaluate.harmonization` measures; the others have three significant digits.
HARMONIZATION_DIGITS = {"scanner_auc": 2, "ssim_source": 3, "gradient_correlation": 3, "tissue_dice": 3}

ULF_ENC = "ULF-EnC 2025, https://github.com/khtohidulislam/ULF-EnC-Challenge"
MRIXFIELDS = "MRIxFields 2026, https://mrixfields.chihucloud.com/2026/tasks.html"
# The sum of ranks of MRIxFields, in the leaderboard alone.
RANK_SUM = "mrixfields_rank_sum"
# What papers and challenges report: `evaluate.metrics.others`. They are no metrics of a study: nothing is won by them.
OTHERS = (
    Metric(
        name="psnr_volume",
        label="PSNR, whole volume (dB)",
        better="higher",
        ideal=float("inf"),
        values="any",
        unit="dB",
        definition="10 log10(max² / MSE) over the whole volume, max: of the target",
        source="Islam et al. 2023 (there of slices), https://doi.org/10.1038/s41598-023-48438-1",
        digits=2,
    ),
    Metric(
        name="ssim_volume",
        label="SSIM, whole volume",
        better="higher",
        ideal=1,
        values="−1 to 1",
        definition="mean of local SSIM over the whole volume, range: the maximum of the target",
        source="Islam et al. 2023 (there of slices), https://doi.org/10.1038/s41598-023-48438-1",
        digits=4,
    ),
    Metric(
        name="ulf_enc_ssim",
        label="ULF-EnC, SSIM",
        better="higher",
        ideal=1,
        values="−1 to 1",
        definition="images scaled by their own minimum and maximum; mean SSIM in the brain, uniform window, 7 voxels",
        source=ULF_ENC,
        digits=4,
    ),
    Metric(
        name="ulf_enc_psnr",
        label="ULF-EnC, PSNR (dB)",
        better="higher",
        ideal=80,
        values="≤ 80",
        unit="dB",
        definition="the same images; mean in the brain of 10 log10(1 / (error² + 10⁻⁸)) of each voxel",
        source=ULF_ENC,
        digits=2,
    ),
    Metric(
        name="ulf_enc_mae",
        label="ULF-EnC, MAE",
        better="lower",
        ideal=0,
        values="0 to 1",
        definition="the same images; mean |output − target| in the brain",
        source=ULF_ENC,
    ),
    Metric(
        name="ulf_enc_nmse",
        label="ULF-EnC, NMSE",
        better="lower",
        ideal=0,
        values="0 to 1",
        definition="the same images; MSE / mean square of the target in the brain, at most 1",
        source=ULF_ENC,
    ),
    Metric(
        name="ulf_enc_score",
        label="ULF-EnC, score",
        better="higher",
        ideal=1.15,
        values="≤ 1.15",
        definition="0.7 SSIM + 0.1 PSNR / 32 + 0.1 (1 − MAE) + 0.1 (1 − NMSE)",
        source=ULF_ENC,
        digits=4,
    ),
    Metric(
        name="mrixfields_nrmse",
        label="MRIxFields, nRMSE",
        better="lower",
        ideal=0,
        values="≥ 0",
        definition="‖output − target‖ / ‖target‖, whole volume, cut off at 0 and the target's 99.5 percentile",
        source=MRIXFIELDS,
    ),
    Metric(
        name="mrixfields_ssim",
        label="MRIxFields, SSIM",
        better="higher",
        ideal=1,
        values="−1 to 1",
        definition="the same images; SSIM of axial slices, uniform window, 7 pixels, mean over slices",
        source=MRIXFIELDS,
        digits=4,
    ),
    Metric(
        name=RANK_SUM,
        label="MRIxFields, sum of ranks",
        better="lower",
        ideal=2,
        values="≥ 2",
        definition="rank of the mean `mrixfields_nrmse` + rank of the mean `mrixfields_ssim`; in the leaderboard alone",
        source=MRIXFIELDS,
    ),
)
