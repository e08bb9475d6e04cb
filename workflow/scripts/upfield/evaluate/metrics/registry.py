"""The metrics by name: what each is called, which way is better, what it can be, and how it is computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from upfield.evaluate.metrics import appearance, edges, fidelity, phase, structure
from upfield.evaluate.metrics.frame import Sample

ISLAM = "Islam et al. 2023, https://doi.org/10.1038/s41598-023-48438-1"
MAGNOTTA = "Magnotta and Friedman 2006, https://doi.org/10.1007/s10278-006-0264-x"
HARALICK = "Haralick et al. 1973, https://doi.org/10.1109/TSMC.1973.4309314"
WILLMOTT = "Willmott and Matsuura 2005, https://doi.org/10.3354/cr030079"
DICE = "Dice 1945, https://doi.org/10.2307/1932409"

# The classes that tissue segmentation can find: named for T1w, numbered for other contrasts.
TISSUES = ("csf", "grey", "white", "class1", "class2", "class3")


@dataclass(frozen=True)
class Metric:
    """One metric: its name in tables, its label in figures, which way is better, and what it is.

    `better` is higher, lower, or nearer to `ideal`; an `ideal` of None is the value of the truth itself. `values`
    says what it can be, `unit` is empty for a pure number. `alone` metrics look at one image only.
    """

    name: str
    label: str
    better: Literal["higher", "lower", "nearer"]
    ideal: float | None
    values: str
    definition: str
    source: str
    unit: str = ""
    function: Callable[[Sample], float] | None = None

    @property
    def alone(self) -> bool:
        """Whether it is a property of one image, to be compared with the truth's."""
        return self.ideal is None


def _shown(tissue: str) -> str:
    return "CSF" if tissue == "csf" else tissue


MEASURED = (
    Metric("psnr", "PSNR (dB)", "higher", float("inf"), "any",
           "10 log10(R² / MSE), R: 0.5–99.5 percentile width of the truth",
           "Huynh-Thu and Ghanbari 2008, https://doi.org/10.1049/el:20080522", "dB", fidelity.psnr),
    Metric("ssim", "SSIM", "higher", 1, "−1 to 1",
           "mean local structural similarity, Gaussian window, sigma 1.5 voxels",
           "Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861", "", structure.ssim),
    Metric("mae", "MAE", "lower", 0, "≥ 0", "mean |output − truth|", WILLMOTT, "units of the target", fidelity.mae),
    Metric("mse", "MSE", "lower", 0, "≥ 0", "mean (output − truth)²",
           "Wang and Bovik 2009, https://doi.org/10.1109/MSP.2008.930649", "squared units", fidelity.mse),
    Metric("rmse", "RMSE", "lower", 0, "≥ 0", "√MSE", WILLMOTT, "units of the target", fidelity.rmse),
    Metric("nrmse_range", "NRMSE (range)", "lower", 0, "≥ 0", "RMSE / (max − min of the truth)", ISLAM, "",
           fidelity.nrmse_range),
    Metric("nrmse_euclidean", "NRMSE (Euclidean)", "lower", 0, "≥ 0", "‖output − truth‖ / ‖truth‖",
           "Fienup 1997, https://doi.org/10.1364/AO.36.008352", "", fidelity.nrmse_euclidean),
    Metric("nmse_variance", "NMSE (variance)", "lower", 0, "≥ 0", "MSE / variance of the truth", ISLAM, "",
           fidelity.nmse_variance),
    Metric("nmse_energy", "NMSE (energy)", "lower", 0, "≥ 0", "‖output − truth‖² / ‖truth‖²",
           "Zbontar et al. 2018, https://arxiv.org/abs/1811.08839", "", fidelity.nmse_energy),
    Metric("pearson", "Pearson r", "higher", 1, "−1 to 1", "correlation of output and truth over voxels",
           "Pearson 1895, https://doi.org/10.1098/rspl.1895.0041", "", fidelity.pearson),
    Metric("ms_ssim", "MS-SSIM", "higher", 1, "0 to 1",
           "SSIM at up to five scales, each half as fine as the one before",
           "Wang, Simoncelli and Bovik 2003, https://doi.org/10.1109/ACSSC.2003.1292216", "", structure.ms_ssim),
    Metric("fsim", "FSIM", "higher", 1, "0 to 1",
           "similarity of phase congruency and gradient, axial slices, weighted by phase congruency",
           "Zhang et al. 2011, https://doi.org/10.1109/TIP.2011.2109730", "", phase.fsim),
    Metric("vif", "VIF", "higher", 1, "≥ 0", "information about the truth in the output / in the truth, four scales",
           "Sheikh and Bovik 2006, https://doi.org/10.1109/TIP.2005.859378", "", structure.vif),
    Metric("high_frequency_error", "High-frequency error", "lower", 0, "≥ 0",
           "‖LoG(output) − LoG(truth)‖ / ‖LoG(truth)‖, LoG: Laplacian of Gaussian, sigma 1.5 voxels",
           "Ravishankar and Bresler 2011, https://doi.org/10.1109/TMI.2010.2090538", "", edges.high_frequency_error),
    Metric("edge_preservation_index", "Edge preservation (ratio)", "nearer", 1, "≥ 0",
           "Σ|differences of neighbours| in the output / in the truth",
           "Han, Guo and Wang 2002, Proc. IGARSS 4:2471–2473", "", edges.edge_preservation_index),
    Metric("edge_preservation_correlation", "Edge preservation (correlation)", "higher", 1, "−1 to 1",
           "correlation of the Laplacians of output and truth",
           "Sattar et al. 1997, IEEE Trans Image Process 6:888–895", "",
           edges.edge_preservation_correlation),
    Metric("snr", "SNR", "nearer", None, "any", "mean / standard deviation of the output in the region", MAGNOTTA, "",
           appearance.snr),
    Metric("cnr", "CNR", "nearer", None, "≥ 0",
           "|mean white − mean grey| / √(variance white + variance grey) of the output", MAGNOTTA, "", appearance.cnr),
    Metric("entropy", "Entropy", "nearer", None, "0 to 8", "Shannon entropy of the output, 256 bins over R",
           "Shannon 1948, https://doi.org/10.1002/j.1538-7305.1948.tb01338.x", "bits", appearance.entropy),
    Metric("glcm_contrast", "GLCM contrast", "nearer", None, "0 to 3969",
           "mean squared difference of neighbours of the output, 64 grey levels over R, 13 directions", HARALICK, "",
           appearance.glcm_contrast),
    Metric("glcm_homogeneity", "GLCM homogeneity", "nearer", None, "0 to 1",
           "mean of 1 / (1 + squared difference of neighbours) of the output, 64 grey levels over R, 13 directions",
           HARALICK, "", appearance.glcm_homogeneity),
    Metric("laplacian_variance", "Laplacian variance", "nearer", None, "≥ 0",
           "variance of the Laplacian of the output / R",
           "Pech-Pacheco et al. 2000, https://doi.org/10.1109/ICPR.2000.903548",
           "", edges.laplacian_variance),
)  # fmt: skip
# What needs weights of a network, in the whole brain: `lpips.lpips`, whose imports the others do without.
LEARNED = (
    Metric("lpips", "LPIPS (VGG)", "lower", 0, "≥ 0",
           "distance of a VGG's features in axial slices of the brain, weighted by LPIPS' linear layers",
           "Zhang et al. 2018, https://arxiv.org/abs/1801.03924"),
)  # fmt: skip
# What the segmentation of the output gives beside these, in the whole brain.
SEGMENTED = tuple(
    metric
    for tissue in TISSUES
    for metric in (
        Metric(f"dice_{tissue}", f"Dice, {_shown(tissue)}", "higher", 1, "0 to 1",
               f"overlap of {tissue} segmented in the output and in the truth", DICE),
        Metric(f"volume_error_{tissue}", f"Volume error, {_shown(tissue)}", "lower", 0, "≥ 0",
               f"|volume of {tissue} in the output − in the truth| / in the truth", "by definition", "%"),
    )
)  # fmt: skip
METRICS = {metric.name: metric for metric in MEASURED}
KNOWN = {metric.name: metric for metric in (*MEASURED, *LEARNED, *SEGMENTED)}
LABELS = {name: metric.label for name, metric in KNOWN.items()}
HIGHER = {name for name, metric in KNOWN.items() if metric.better == "higher"}
LOWER = {name for name, metric in KNOWN.items() if metric.better == "lower"}
# Properties of one image, to be compared with the truth's.
ALONE = {name for name, metric in METRICS.items() if metric.alone}

DEFINITIONS = ["metric", "label", "unit", "better", "ideal", "values", "definition", "source"]


def definitions(names: Sequence[str] | None = None) -> pd.DataFrame:
    """The metrics (all, or those named, in this order) as a table of texts with the columns `DEFINITIONS`."""
    rows = []
    for name in KNOWN if names is None else names:
        metric = KNOWN[name]
        ideal = "the truth's" if metric.ideal is None else f"{metric.ideal:g}".replace("inf", "∞")
        unit, values = metric.unit or "none", metric.values
        rows.append([name, metric.label, unit, metric.better, ideal, values, metric.definition, metric.source])
    return pd.DataFrame(rows, columns=DEFINITIONS)
