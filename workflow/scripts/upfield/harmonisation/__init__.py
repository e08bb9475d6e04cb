"""Scanner harmonisation measured: what a scanner classifier can still tell, how far intensities are apart, what moved.

All images are in one unit, the normalised values of preprocessing. `structure` and `appearance` look at one scan,
`combat` and `cohort` at tables of many.
"""

from upfield.harmonisation.anatomy import structure, wasserstein
from upfield.harmonisation.cohort import cohort_table
from upfield.harmonisation.combat_baseline import combat
from upfield.harmonisation.features import COLUMNS, appearance

__all__ = ["COLUMNS", "appearance", "cohort_table", "combat", "structure", "wasserstein"]
