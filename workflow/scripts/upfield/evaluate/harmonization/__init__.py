"""Scanner harmonization measured: what a scanner classifier can still tell, how far intensities are apart, what moved.

All images are in one unit, the normalized values of preprocessing. `structure` and `appearance` look at one scan,
`combat` and `cohort` at tables of many.
"""

from upfield.evaluate.harmonization.anatomy import structure, wasserstein
from upfield.evaluate.harmonization.cohort import cohort_table
from upfield.evaluate.harmonization.combat_baseline import combat
from upfield.evaluate.harmonization.features import COLUMNS, appearance

LABELS = {
    "scanner_auc": "Scanner AUC",
    "mmd": "MMD²",
    "wasserstein": "Wasserstein distance",
    "ssim_source": "SSIM to the source",
    "gradient_correlation": "Gradient correlation",
    "tissue_dice": "Tissue overlap (Dice)",
    "cycle_error": "Cycle error",
}
# Which way is better for one scan; of `scanner_auc`, nearer to 0.5 is.
HIGHER = {"ssim_source", "gradient_correlation", "tissue_dice"}
LOWER = {"wasserstein", "cycle_error"}

__all__ = ["COLUMNS", "HIGHER", "LABELS", "LOWER", "appearance", "cohort_table", "combat", "structure", "wasserstein"]
