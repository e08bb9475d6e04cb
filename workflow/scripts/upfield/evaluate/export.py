"""Tables for other programs, made from the study's own."""

from collections.abc import Mapping, Sequence

import pandas as pd

from upfield.files import read_tsv, write_csv
from upfield.step import step

# Column by metric, in the order in which LoHiResGAN writes them. Its NRMSE is by the range of the target (though off by
# a factor of 255), its NMSE by the variance.
LOHIRESGAN = {
    "mae": "mae",
    "mse": "mse",
    "rmse": "rmse",
    "nrmse_range": "nrmse",
    "nmse_variance": "nmse",
    "psnr": "psnr",
    "ssim": "ssim",
    "pearson": "corr",
    "snr": "snr",
    "cnr": "cnr",
    "entropy": "entropy",
    "edge_preservation_index": "edge_preservation_index",
    "glcm_contrast": "texture_contrast",
    "glcm_homogeneity": "texture_homogeneity",
    "laplacian_variance": "laplacian_variance",
    "fsim": "feature_similarity_index",
}


@step(version=0, memory=(300, 1), minutes=(0.1, 0.01))
def export(values: str, tables: Sequence[str], files: Mapping[str, Mapping[str, str]]) -> None:
    """Write the table of each method of `files` (name of each participant's prediction by method) as CSV."""
    measured = read_tsv(values)
    for (method, names), path in zip(files.items(), tables, strict=True):
        write_csv(path, lohiresgan(measured, method, names))


def lohiresgan(values: pd.DataFrame, method: str, files: Mapping[str, str]) -> pd.DataFrame:
    """One method's metrics of each test participant in the columns of LoHiResGAN's CSV: `filename, mae, mse, ...`.

    `values` is the table of `metrics/per_subject.tsv`, `files` the name of each participant's prediction. In the brain;
    columns are those of the metrics that the study measured, rows those of the participants that it could measure.
    """
    chosen = values[(values["method"] == method) & (values["split"] == "test") & (values["region"] == "brain")]
    wide = chosen.pivot_table(index="participant_id", columns="metric", values="value", sort=True)
    known = [name for name in LOHIRESGAN if name in wide]
    table = wide[known].rename(columns=LOHIRESGAN).reset_index()
    return table.assign(filename=table["participant_id"].map(files))[["filename", *map(LOHIRESGAN.get, known)]]
