"""The tables of a study from those of its participants."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from upfield.evaluate import harmonization, statistics, tissues
from upfield.evaluate.metrics import ALONE, HIGHER, LOWER, definitions
from upfield.evaluate.metrics.registry import KNOWN
from upfield.files import read_tsv

# What `summarise` makes, by name.
TABLES = (
    "per_subject", "leaderboard", "comparisons", "ranks", "outliers", "quantities", "agreement", "definitions",
)  # fmt: skip


def gathered(paths: Iterable[str], columns: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of several files; none, with the columns of the files or those given, if there is no row."""
    tables = [read_tsv(path) for path in paths]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else (tables or [pd.DataFrame(columns=columns)])[0]


def summarise(
    values: pd.DataFrame,
    own: pd.DataFrame,
    segmentation: pd.DataFrame,
    *,
    methods: Sequence[str],
    baselines: Sequence[str],
    seed: int,
    primary: statistics.Primary = statistics.compare.NONE,
    relevant: Mapping[str, float | None] = statistics.compare.ANY,
) -> dict[str, pd.DataFrame]:
    """Every table of `TABLES`.

    `values` and `own` are what `measure` gives, `segmentation` what `segment_outputs` gives, of all participants;
    `methods` are compared with `baselines` and each other, of which `primary` is what the study claims;
    `relevant` are the smallest differences that matter, `seed` is that of permutations.
    """
    measured = pd.concat([part for part in (values, tissues.scores(segmentation)) if len(part)] or [values])
    quantities = pd.concat([of_one_image(values, own), tissues.volumes(segmentation)], ignore_index=True)
    # Those of an unpaired study are defined in the guide.
    names = [name for name in dict.fromkeys(measured["metric"]) if name in KNOWN]
    return {
        "per_subject": measured.reset_index(drop=True),
        "leaderboard": statistics.leaderboard(measured),
        "comparisons": statistics.comparisons(
            measured,
            methods,
            baselines,
            higher=HIGHER | harmonization.HIGHER,
            lower=LOWER | harmonization.LOWER,
            primary=primary,
            relevant=relevant,
        ),
        "ranks": statistics.ranks(measured, HIGHER, LOWER, seed),
        "outliers": statistics.outliers(measured),
        "quantities": quantities,
        "agreement": statistics.agreement(quantities),
        "definitions": definitions(names),
    }


def of_one_image(values: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Rows of `quantities.tsv`: metrics of one image, of outputs beside those of the reference image."""
    chosen = values[values["metric"].isin(ALONE)]
    both = chosen.merge(own, on=["participant_id", "region", "metric"], suffixes=("_output", "_truth"))
    both = both.rename(columns={"metric": "quantity", "value_output": "output", "value_truth": "truth"})
    return both[statistics.QUANTITIES]


def methods_sentence(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """How values were summarised and methods compared, as a clause with citations."""
    margin = config.get("statistics", {}).get("margin")
    text = (
        "the participant is the unit: means and paired differences have 95 % t intervals [student1908], and methods"
        " were compared by paired t tests with Holm's correction [holm1979], what was named before the run apart from"
        " all else"
    )
    return text if margin is None else f"{text}, and a non-inferiority margin of {margin:g}"
