"""ComBat on the features of scans: the statistical baseline of harmonization. It changes numbers, not images."""

from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pandas as pd

from upfield.errors import UpfieldError
from upfield.evaluate.harmonization.features import COLUMNS, WHOLE
from upfield.image.nifti import Array

METHOD = "combat"
SCANNERS = ("source", "target")


def combat(training: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """The features of `test` after ComBat fitted on `training`, as rows of method `combat`.

    Location and scale of every feature of every slab, by scanner, with empirical Bayes priors over the features
    (Johnson et al. 2007, https://doi.org/10.1093/biostatistics/kxj037; Fortin et al. 2018,
    https://doi.org/10.1016/j.neuroimage.2017.11.024). Both scanners move, to their common mean; there are no
    covariates, so a difference in age between the cohorts is removed too. Intensities of the whole brain are not
    features of a slab and have no rows.

    Both tables have `harmonization.COLUMNS`; only rows of method `identity` are read.
    Raises UpfieldError if a scanner has fewer than two training scans.
    """
    # Imported here: it takes half a second, and most of this package does without it.
    from neuroCombat import neuroCombat

    learned, given = _wide(training), _wide(test)
    batch = learned.index.get_level_values("scanner")
    counts = {scanner: int((batch == scanner).sum()) for scanner in SCANNERS}
    if min(counts.values()) < 2:
        found = " and ".join(f"{n} of the {scanner}" for scanner, n in counts.items())
        raise UpfieldError(f"ComBat: found {found} scans to learn from; expected two of each at least")
    if not list(learned.columns) == list(given.columns):
        raise ValueError("training and test scans have different features")
    with redirect_stdout(StringIO()):
        fitted = neuroCombat(learned.to_numpy().T, pd.DataFrame({"scanner": batch}), "scanner")["estimates"]
    # `batches` are numbers in the order of the sorted names, and so are SCANNERS.
    of = np.array([SCANNERS.index(scanner) for scanner in given.index.get_level_values("scanner")], dtype=int)
    adjusted = _apply(given.to_numpy(), of, fitted)
    result = pd.DataFrame(adjusted, index=given.index, columns=given.columns).stack(
        ["block", "feature"], future_stack=True
    )
    return result.rename("value").reset_index().assign(method=METHOD)[COLUMNS]


def _apply(values: Array, scanner: Array, fitted: dict[str, Array]) -> Array:
    """Features (N, F) without the fitted location and scale of their scanner (N,), equation 4 of Johnson et al."""
    mean, sd = fitted["stand.mean"][:, 0], np.sqrt(fitted["var.pooled"][:, 0])
    location, scale = np.asarray(fitted["gamma.star"])[scanner], np.asarray(fitted["delta.star"])[scanner]
    return np.asarray(((values - mean) / sd - location) / np.sqrt(scale) * sd + mean)


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Scans in rows, features of slabs in columns, both sorted."""
    chosen = table[(table["method"] == "identity") & (table["block"] != WHOLE)]
    return chosen.pivot(index=["participant_id", "scanner"], columns=["block", "feature"], values="value").sort_index(
        axis=1
    )
