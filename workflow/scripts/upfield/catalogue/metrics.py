"""What a metric is, as data, and those that no function of a pair of images computes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

DICE = "Dice 1945, https://doi.org/10.2307/1932409"

# The classes that tissue segmentation can find: named for T1w, numbered for other contrasts.
TISSUES = ("csf", "grey", "white", "class1", "class2", "class3")


@dataclass(frozen=True)
class Metric:
    """One metric: its name in tables, its label in figures, which way is better, and what it is.

    `better` is higher, lower, or nearer to `ideal`; an `ideal` of None is the value of the target itself. `values`
    says what it can be, `unit` is empty for a pure number. A report writes it with as many decimals as `digits` says,
    or with three significant digits. `function` takes an `evaluate.metrics.frame.Sample`.
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
    shown = "CSF" if tissue == "csf" else tissue
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
